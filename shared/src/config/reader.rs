//! Reads variables one by one and records every mistake. A method that records one returns a placeholder, which
//! [`EnvReader::read`] discards.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::variables::{AllowedValues, Variable};
use super::{Environment, KeySource, is_loopback};
use crate::secret::Secret;

/// What is wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable's name.
    pub variable: &'static str,
    /// The place in a variable that holds JSON, such as `.relay.base_url`; otherwise empty.
    pub place: String,
    /// The rest of the sentence that begins with the name. It never contains the value.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, place, message } = self;
        write!(f, "{variable}{place} {message}")
    }
}

/// All mistakes in the environment. `Display` writes one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, mistake) in self.0.iter().enumerate() {
            if line > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

pub(super) struct EnvReader<'a> {
    environment: Environment<'a>,
    mistakes: Vec<Mistake>,
}

impl<'a> EnvReader<'a> {
    /// Returns the configuration that `read` builds, or all mistakes. `read` may return `None` only after a mistake.
    pub(super) fn read<T>(
        environment: Environment<'a>,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Mistakes> {
        let mut reader = Self { environment, mistakes: Vec::new() };
        match read(&mut reader) {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => Err(Mistakes(reader.mistakes)),
        }
    }

    /// A number in the table's range.
    pub(super) fn number<T: TryFrom<u64> + Default>(&mut self, variable: &Variable) -> T {
        self.required(variable, |value| value.parse::<u64>().ok()?.try_into().ok())
    }

    pub(super) fn duration(&mut self, variable: &Variable) -> Duration {
        Duration::from_millis(self.number(variable))
    }

    /// One of the table's words.
    pub(super) fn word(&mut self, variable: &Variable) -> &'static str {
        self.required(variable, |value| variable.values.word(value))
    }

    /// Whether the variable is this one of the table's words.
    pub(super) fn is(&mut self, variable: &Variable, word: &str) -> bool {
        self.word(variable) == word
    }

    /// Text of the table's form.
    pub(super) fn text(&mut self, variable: &Variable) -> String {
        self.required(variable, |value| Some(value.to_owned()))
    }

    /// The items between the commas. A variable without a value is an empty list.
    pub(super) fn list(&mut self, variable: &Variable) -> Vec<String> {
        let value = self.value(variable).unwrap_or_default();
        let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
        match items.clone().all(|item| variable.values.accept(item)) {
            true => items.map(str::to_owned).collect(),
            false => self.refuse(variable),
        }
    }

    /// A key: in a variable, or in the secret that another variable names.
    pub(super) fn key(&mut self, given: &Variable, managed: &Variable) -> KeySource {
        match (self.value(given), self.value(managed)) {
            (Some(_), None) => {
                if let Some(secret) = self.secret(given) {
                    return KeySource::Given(secret);
                }
            }
            (None, Some(id)) if managed.values.accept(&id) => return KeySource::Managed { id, member: given.name },
            (None, Some(_)) => self.refuse(managed),
            (Some(_), Some(_)) => self.mistake(given, format!("and {} are both set: keep one", managed.name)),
            (None, None) => {}
        }
        KeySource::Missing { given: given.name, managed: managed.name }
    }

    /// A secret in a variable. `None` without a value, or after a mistake.
    pub(super) fn secret(&mut self, variable: &Variable) -> Option<Secret> {
        let parsed = Secret::parse(&self.value(variable)?);
        parsed.map_or_else(|error| self.mistake(variable, error.to_string()), Some)
    }

    /// Text of the table's form. `None` without a value, or after a mistake.
    pub(super) fn optional_text(&mut self, variable: &Variable) -> Option<String> {
        let value = self.value(variable)?;
        if variable.values.accept(&value) { Some(value) } else { self.refuse(variable) }
    }

    /// Whether the variable has a value.
    pub(super) fn has(&self, variable: &Variable) -> bool {
        self.value(variable).is_some()
    }

    /// A URL without a slash at the end, unless it has no path. `None` only after a mistake.
    pub(super) fn base_url(&mut self, variable: &Variable) -> Option<Url> {
        match self.value(variable) {
            Some(_) => self.optional_url(variable),
            None => self.not_set(variable),
        }
    }

    /// Like [`Self::base_url`], but `None` also if the variable has no value.
    pub(super) fn optional_url(&mut self, variable: &Variable) -> Option<Url> {
        match base_url(&self.value(variable)?) {
            Ok(url) => Some(url),
            Err(message) => self.mistake(variable, message),
        }
    }

    /// Records a mistake and returns the placeholder.
    pub(super) fn mistake<T: Default>(&mut self, variable: &Variable, message: String) -> T {
        self.mistake_at(variable, String::new(), message)
    }

    /// Records a mistake in a part of a variable and returns the placeholder.
    pub(super) fn mistake_at<T: Default>(&mut self, variable: &Variable, place: String, message: String) -> T {
        self.mistakes.push(Mistake { variable: variable.name, place, message });
        T::default()
    }

    /// Whether the environment has a value for the variable.
    pub(super) fn is_set(&self, variable: &Variable) -> bool {
        (self.environment)(variable.name).is_some_and(|value| !value.trim().is_empty())
    }

    fn required<T: Default>(&mut self, variable: &Variable, parse: impl FnOnce(&str) -> Option<T>) -> T {
        let Some(value) = self.value(variable) else { return self.not_set(variable) };
        let parsed = if variable.values.accept(&value) { parse(&value) } else { None };
        parsed.unwrap_or_else(|| self.refuse(variable))
    }

    fn not_set<T: Default>(&mut self, variable: &Variable) -> T {
        self.mistake(variable, format!("is not set: it must be {}", variable.values))
    }

    fn refuse<T: Default>(&mut self, variable: &Variable) -> T {
        self.mistake(variable, format!("must be {}", variable.values))
    }

    /// The trimmed value, or else the default. An empty variable is not set.
    fn value(&self, variable: &Variable) -> Option<String> {
        (self.environment)(variable.name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .or_else(|| variable.default.map(str::to_owned))
    }
}

/// A URL without a slash at the end, unless it has no path.
pub(super) fn base_url(value: &str) -> Result<Url, String> {
    let refused = || format!("must be {}", AllowedValues::BaseUrl);
    let mut url = Url::parse(value).map_err(|_| refused())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or a password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a query or a fragment".to_owned());
    }
    match url.scheme() {
        "http" if !is_loopback(&url) => {
            Err("must begin with https://: plain http is for loopback hosts only".to_owned())
        }
        "http" | "https" => {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
            Ok(url)
        }
        _ => Err(refused()),
    }
}
