//! `IMAGE_UPSTREAMS` and `IMAGE_ROUTES`: several upstreams, and for each model the upstreams that make its pictures.
//!
//! Every mistake names its place, such as `IMAGE_ROUTES.gemini-2.5-flash-image[1]`. Values are never named, because one
//! may be a key; nor are the names of members that do not exist.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::image_api::{ImageApiConfig, ImageApiMode, ImageRoute, ImageTarget, ImageUpstream, KeyAs, without_version};
use super::reader::{EnvReader, base_url};
use super::variables::{self, AllowedValues, Variable};
use super::{KeySource, is_loopback};
use crate::price::Price;
use crate::secret::Secret;
use crate::upstream::ModelFamily;

const MAX_NAME_CHARS: usize = 32;

/// Reads both variables. `None` only after a mistake.
pub(super) fn read(reader: &mut EnvReader<'_>, is_on_aws: bool) -> Option<ImageApiConfig> {
    let upstreams = members(reader, &variables::IMAGE_UPSTREAMS);
    let routes = members(reader, &variables::IMAGE_ROUTES);
    let previews = reader.number(&variables::IMAGE_PARTIAL_IMAGES);
    let (upstreams, routes) = (upstreams?, routes?);
    let names: Vec<_> = upstreams.iter().map(|(name, _)| name.clone()).collect();
    let upstreams: Vec<_> = upstreams
        .iter()
        .enumerate()
        .map(|(number, (name, json))| read_upstream(reader, number, name, json, is_on_aws).map(Arc::new))
        .collect();
    let models: Vec<_> = routes.iter().map(|(model, _)| model.clone()).collect();
    let mut known = KnownNames { upstreams: &upstreams, names: &names, models: &models, targets: Vec::new() };
    let routes: Vec<_> =
        routes.iter().enumerate().map(|(at, (model, json))| known.read_route(reader, at, model, json)).collect();
    Some(ImageApiConfig {
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        previews,
    })
}

/// A JSON object with its members in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The members of a variable. `None` only after a mistake.
fn members(reader: &mut EnvReader<'_>, variable: &Variable) -> Option<Vec<(String, Box<RawValue>)>> {
    let Some(text) = reader.optional_text(variable) else {
        return reader.mistake(variable, "is not set: IMAGE_UPSTREAMS and IMAGE_ROUTES need each other".to_owned());
    };
    let members = match serde_json::from_str(&text) {
        Ok(Members(members)) => members,
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let message = format!("must be {} (line {line}, column {column})", variable.values);
            return reader.mistake(variable, message);
        }
    };
    if members.is_empty() {
        return reader.mistake(variable, "is empty".to_owned());
    }
    for (at, (name, _)) in members.iter().enumerate() {
        if members.iter().take(at).any(|(earlier, _)| earlier == name) {
            reader.mistake_at::<()>(variable, format!("[{at}]"), "has the name of an earlier entry".to_owned());
        }
    }
    Some(members)
}

/// The place of a mistake: a variable, and the way to a value in it.
struct Place<'a> {
    variable: &'a Variable,
    path: String,
}

impl Place<'_> {
    fn mistake<T: Default>(&self, reader: &mut EnvReader<'_>, member: &str, message: impl Into<String>) -> T {
        reader.mistake_at(self.variable, format!("{}{member}", self.path), message.into())
    }

    /// An object of these members. A member that is `null` is absent.
    fn object(
        &self,
        reader: &mut EnvReader<'_>,
        value: Value,
        names: &[&str],
    ) -> Option<serde_json::Map<String, Value>> {
        let Value::Object(mut object) = value else { return self.mistake(reader, "", "must be a JSON object") };
        object.retain(|_, value| !value.is_null());
        if object.keys().any(|key| !names.contains(&key.as_str())) {
            let message = format!("has an unknown member; it may have {}", names.join(", "));
            return self.mistake(reader, "", message);
        }
        Some(object)
    }

    /// A member that is text of this form. `None` if it is absent, or after a mistake.
    fn text(
        &self,
        reader: &mut EnvReader<'_>,
        object: &serde_json::Map<String, Value>,
        name: &str,
        form: AllowedValues,
    ) -> Option<String> {
        match object.get(name)?.as_str().map(str::trim) {
            Some(text) if !text.is_empty() && form.accept(text) => Some(text.to_owned()),
            _ => self.mistake(reader, &format!(".{name}"), format!("must be {form}")),
        }
    }

    fn word(
        &self,
        reader: &mut EnvReader<'_>,
        object: &serde_json::Map<String, Value>,
        name: &str,
        words: &'static [&'static str],
    ) -> Option<&'static str> {
        let form = AllowedValues::OneOf(words);
        form.word(&self.text(reader, object, name, form)?)
    }
}

const MODES: &[&str] = &["chat", "images", "gemini", "ark"];
const KEY_HEADERS: &[&str] = &["bearer", "x-goog-api-key", "api-key"];

/// `None` only after a mistake.
fn read_upstream(
    reader: &mut EnvReader<'_>,
    number: usize,
    name: &str,
    json: &RawValue,
    is_on_aws: bool,
) -> Option<ImageUpstream> {
    let variable = &variables::IMAGE_UPSTREAMS;
    let is_name_letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_name_letter) {
        let place = Place { variable, path: format!("[{number}]") };
        let message =
            format!("must have a name of at most {MAX_NAME_CHARS} letters, digits, hyphens, underscores and dots");
        return place.mistake(reader, "", message);
    }
    let place = Place { variable, path: format!(".{name}") };
    let value = serde_json::from_str(json.get()).unwrap_or_default();
    let object = place.object(reader, value, &["mode", "base_url", "key_secret_arn", "key", "auth"])?;
    if !object.contains_key("mode") {
        place.mistake::<()>(reader, "", "has no mode");
    }
    let mode = place.word(reader, &object, "mode", MODES);
    let mode = mode.and_then(|name| ImageApiMode::ALL.into_iter().find(|mode| mode.name() == name));
    let url = match object.get("base_url").map(|url| base_url(url.as_str().unwrap_or_default())) {
        None => place.mistake(reader, "", "has no base_url"),
        Some(Ok(url)) => Some(url),
        Some(Err(message)) => place.mistake(reader, ".base_url", message),
    };
    let key_as = place.word(reader, &object, "auth", KEY_HEADERS);
    let key_as = key_as.map(|name| match name {
        "x-goog-api-key" => KeyAs::GoogApiKey,
        "api-key" => KeyAs::ApiKey,
        _ => KeyAs::Bearer,
    });
    // The key of an upstream on this machine is valid nowhere else.
    let may_have_key = !is_on_aws || url.as_ref().is_some_and(is_loopback);
    let member = if mode == Some(ImageApiMode::Ark) { variables::ARK_API_KEY } else { variables::IMAGE_API_KEY }.name;
    let key = match (object.get("key"), object.contains_key("key_secret_arn")) {
        (None, true) => {
            let id = place.text(reader, &object, "key_secret_arn", AllowedValues::SecretId);
            id.map(|id| KeySource::Managed { id, member })
        }
        (Some(_), true) => place.mistake(reader, "", "has key and key_secret_arn: keep one"),
        (Some(_), false) if !may_have_key => place.mistake(
            reader,
            ".key",
            "must not be set on AWS: put the key in a secret, and its ARN in key_secret_arn",
        ),
        (Some(key), false) => match Secret::parse(key.as_str().unwrap_or_default()) {
            Ok(secret) => Some(KeySource::Given(secret)),
            Err(error) => place.mistake(reader, ".key", error.to_string()),
        },
        (None, false) => place.mistake(reader, "", "has no key_secret_arn, and no key for use at home"),
    };
    let (mode, url) = (mode?, url?);
    Some(ImageUpstream {
        number,
        name: name.to_owned(),
        mode,
        base_url: if mode == ImageApiMode::Ark { url } else { without_version(url) },
        key: key?,
        key_as: key_as.unwrap_or(mode.key_as()),
    })
}

/// What a route may refer to.
struct KnownNames<'a> {
    /// `None` for an upstream with a mistake.
    upstreams: &'a [Option<Arc<ImageUpstream>>],
    names: &'a [String],
    models: &'a [String],
    /// The targets so far: upstream and model. Their places are their ids.
    targets: Vec<(usize, String)>,
}

impl KnownNames<'_> {
    /// `None` only after a mistake.
    fn read_route(
        &mut self,
        reader: &mut EnvReader<'_>,
        at: usize,
        model: &str,
        json: &RawValue,
    ) -> Option<Arc<ImageRoute>> {
        let variable = &variables::IMAGE_ROUTES;
        if model.is_empty() || !AllowedValues::Model.accept(model) {
            let place = Place { variable, path: format!("[{at}]") };
            return place.mistake(reader, "", format!("must have {} as its name", AllowedValues::Model));
        }
        let place = Place { variable, path: format!(".{model}") };
        let entries = match serde_json::from_str(json.get()) {
            Ok(Value::Array(entries)) if entries.is_empty() => {
                return place.mistake(reader, "", "has no route: it must list at least one upstream");
            }
            Ok(Value::Array(entries)) => entries,
            _ => return place.mistake(reader, "", "must be a list of upstreams"),
        };
        let mut targets: Vec<Option<ImageTarget>> = Vec::new();
        for (position, entry) in entries.into_iter().enumerate() {
            let place = Place { variable, path: format!(".{model}[{position}]") };
            let target = self.read_target(reader, &place, model, entry);
            let is_again =
                target.as_ref().is_some_and(|target| targets.iter().flatten().any(|earlier| earlier.id == target.id));
            if is_again {
                place.mistake::<()>(reader, "", "is a loop: an earlier entry is the same model of the same upstream");
            }
            targets.push(target);
        }
        let targets = targets.into_iter().collect::<Option<_>>()?;
        Some(Arc::new(ImageRoute { model: model.to_owned(), targets }))
    }

    /// `None` after a mistake, or if the upstream has one.
    fn read_target(
        &mut self,
        reader: &mut EnvReader<'_>,
        place: &Place<'_>,
        model: &str,
        entry: Value,
    ) -> Option<ImageTarget> {
        let object = match entry {
            Value::String(name) => serde_json::Map::from_iter([("upstream".to_owned(), Value::String(name))]),
            entry => place.object(reader, entry, &["upstream", "model", "family", "price"])?,
        };
        let model = match object.contains_key("model") {
            true => place.text(reader, &object, "model", AllowedValues::Model),
            false => Some(model.to_owned()),
        };
        let price = match object.get("price").map(|price| price.as_f64().and_then(Price::new)) {
            Some(None) => place.mistake(reader, ".price", format!("must be a number, 0 to {}", Price::MAX)),
            price => price,
        };
        let family = place.word(reader, &object, "family", ModelFamily::OF_ARK).and_then(ModelFamily::named);
        let Some(name) = object.get("upstream").and_then(Value::as_str) else {
            return place.mistake(reader, "", "has no upstream");
        };
        let Some(number) = self.names.iter().position(|known| known == name) else {
            let message = match self.models.iter().any(|known| known == name) {
                true => "is a model: a route lists upstreams and no other routes, which could be a loop",
                false => "is not the name of an upstream in IMAGE_UPSTREAMS",
            };
            return place.mistake(reader, "", message);
        };
        let model = model?;
        let target = (number, model.clone());
        let id = self.targets.iter().position(|known| *known == target).unwrap_or(self.targets.len());
        if id == self.targets.len() {
            self.targets.push(target);
        }
        let upstream = self.upstreams.get(number)?.clone()?;
        if family.is_some() && upstream.mode != ImageApiMode::Ark {
            return place.mistake(reader, ".family", "is for upstreams of mode ark only");
        }
        let family = family.unwrap_or_else(|| ModelFamily::of(&model));
        Some(ImageTarget { id, upstream, model, family, price: price.flatten() })
    }
}
