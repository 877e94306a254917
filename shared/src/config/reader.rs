//! Reads variables one by one and remembers every mistake. `None` from a method means that one was
//! remembered.

use super::variables::{Values, Variable};
use super::{Environment, ImageApiMode, KeySource, is_loopback};
use crate::secret::Secret;
use std::fmt;
use url::Url;

/// What is wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong, to be read behind the name. Never quotes the value.
    pub message: String,
}

/// Everything that is wrong with the environment. `Display` writes one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, mistake) in self.0.iter().enumerate() {
            if line > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{} {}", mistake.variable, mistake.message)?;
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

    pub(super) fn number(&mut self, variable: &Variable) -> Option<u64> {
        let value = self.required(variable)?;
        let (Values::Milliseconds { min, max } | Values::Count { min, max }) = variable.values else {
            return self.refuse(variable);
        };
        match value.parse() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => self.refuse(variable),
        }
    }

    pub(super) fn flag(&mut self, variable: &Variable) -> Option<bool> {
        match self.required(variable)?.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.refuse(variable),
        }
    }

    pub(super) fn text(&mut self, variable: &Variable) -> Option<String> {
        let value = self.required(variable)?;
        match variable.values {
            Values::Text { max } if value.chars().count() <= max => Some(value),
            _ => self.refuse(variable),
        }
    }

    /// A key in a variable of its own, or the secret that holds it.
    pub(super) fn key(&mut self, given: &Variable, managed: &Variable) -> Option<KeySource> {
        match (self.optional(given), self.optional(managed)) {
            (None, None) => Some(KeySource::Missing { given: given.name, managed: managed.name }),
            (Some(value), None) => match Secret::parse(&value) {
                Ok(secret) => Some(KeySource::Given(secret)),
                Err(error) => self.mistake(given, error.to_string()),
            },
            (None, Some(id)) if id.len() <= 2048 && id.chars().all(|c| c.is_ascii_graphic()) => {
                Some(KeySource::Managed { id, member: given.name })
            }
            (None, Some(_)) => self.refuse(managed),
            (Some(_), Some(_)) => self.mistake(given, format!("and {} are both set: keep one", managed.name)),
        }
    }

    pub(super) fn mode(&mut self, variable: &Variable) -> Option<ImageApiMode> {
        match self.required(variable)?.as_str() {
            "chat" => Some(ImageApiMode::Chat),
            "images" => Some(ImageApiMode::Images),
            "gemini" => Some(ImageApiMode::Gemini),
            _ => self.refuse(variable),
        }
    }

    pub(super) fn too_short(&mut self, variable: &Variable, min_bytes: usize) {
        self.mistake::<()>(variable, format!("must have at least {min_bytes} bytes"));
    }

    pub(super) fn table(&mut self, variable: &Variable) -> Option<String> {
        let value = self.required(variable)?;
        let is_name = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if (3..=255).contains(&value.len()) && is_name { Some(value) } else { self.refuse(variable) }
    }

    /// One of two words: whether it is the second.
    pub(super) fn choice(&mut self, variable: &Variable, words: [&str; 2]) -> Option<bool> {
        let value = self.required(variable)?;
        match words.iter().position(|word| *word == value) {
            Some(at) => Some(at == 1),
            None => self.refuse(variable),
        }
    }

    /// What stands between the commas; nothing if it is not set.
    pub(super) fn client_ids(&mut self, variable: &Variable) -> Option<Vec<String>> {
        let value = self.optional(variable).unwrap_or_default();
        let ids = value.split(',').map(str::trim).filter(|id| !id.is_empty());
        let ids: Vec<_> = ids.map(str::to_owned).collect();
        let is_id = |id: &String| id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
        if ids.iter().all(is_id) { Some(ids) } else { self.refuse(variable) }
    }

    pub(super) fn model(&mut self, variable: &Variable) -> Option<String> {
        let value = self.required(variable)?;
        if is_model(&value) { Some(value) } else { self.refuse(variable) }
    }

    pub(super) fn models(&mut self, variable: &Variable) -> Option<Vec<String>> {
        let value = self.required(variable)?;
        let models: Vec<_> =
            value.split(',').map(str::trim).filter(|model| !model.is_empty()).map(str::to_owned).collect();
        if models.iter().all(|model| is_model(model)) { Some(models) } else { self.refuse(variable) }
    }

    pub(super) fn image_size(&mut self, variable: &Variable) -> Option<String> {
        let value = self.required(variable)?.to_ascii_lowercase();
        if ["1k", "1.5k", "2k", "3k", "4k"].contains(&value.as_str()) {
            return Some(value.to_ascii_uppercase());
        }
        match value.split_once('x') {
            Some((width, height)) if is_side(width) && is_side(height) => Some(value),
            _ => self.refuse(variable),
        }
    }

    /// `Some(None)` if it is not set.
    pub(super) fn optional_url(&mut self, variable: &Variable) -> Option<Option<Url>> {
        match self.optional(variable) {
            None => Some(None),
            Some(_) => self.base_url(variable).map(Some),
        }
    }

    /// Without a slash at the end, unless the URL has no path.
    pub(super) fn base_url(&mut self, variable: &Variable) -> Option<Url> {
        let value = self.required(variable)?;
        let Ok(mut url) = Url::parse(&value) else {
            return self.refuse(variable);
        };
        let message = match url.scheme() {
            _ if !url.username().is_empty() || url.password().is_some() => "must not contain a user name or a password",
            _ if url.query().is_some() || url.fragment().is_some() => "must not contain a query or a fragment",
            "http" if !is_loopback(&url) => "must begin with https://: plain http is for loopback hosts only",
            "http" | "https" => {
                let path = url.path().trim_end_matches('/').to_owned();
                url.set_path(&path);
                return Some(url);
            }
            _ => return self.refuse(variable),
        };
        self.mistake(variable, message.to_owned())
    }

    fn optional(&self, variable: &Variable) -> Option<String> {
        (self.environment)(variable.name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
            .or_else(|| variable.default.map(str::to_owned))
    }

    fn required(&mut self, variable: &Variable) -> Option<String> {
        let value = self.optional(variable);
        if value.is_none() {
            self.mistake::<()>(variable, format!("is not set: it must be {}", variable.values));
        }
        value
    }

    fn refuse<T>(&mut self, variable: &Variable) -> Option<T> {
        self.mistake(variable, format!("must be {}", variable.values))
    }

    fn mistake<T>(&mut self, variable: &Variable, message: String) -> Option<T> {
        self.mistakes.push(Mistake { variable: variable.name, message });
        None
    }
}

/// Relays give their models names in any script, so little can be said of them.
fn is_model(name: &str) -> bool {
    let clean = |c: char| !c.is_control() && !c.is_whitespace() && c != ',';
    (1..=128).contains(&name.len()) && name.chars().all(clean)
}

fn is_side(digits: &str) -> bool {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (2..=5).contains(&digits.len()) && !digits.starts_with('0')
}
