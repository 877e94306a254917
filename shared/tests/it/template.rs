//! The deployment template agrees with the code, the local stack and docs/operate.md.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use shared::config::{
    AllowedValues, CommonConfig, FaceflipConfig, FunctionConfig, GenerateConfig, VARIABLES, Variable,
};

/// What only a deployer knows.
const NO_DEFAULT: &[&str] = &["SUPABASE_URL"];

const ALLOWED_HEADERS: &[&str] =
    &["authorization", "content-type", "accept", "idempotency-key", "x-request-id", "apikey", "x-client-info"];
const EXPOSED_HEADERS: &[&str] = &["x-task-id", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy"];

const OWN_LOGS: &str = "[logs:CreateLogStream, logs:PutLogEvents]";
const SECRET: &str = "secretsmanager:GetSecretValue";
const WRITE: &str = "[dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem]";
const PICTURES: &str = "${PicturesBucket.Arn}/p/*";
const TABLES: &str = "[!GetAtt RateLimitsTable.Arn, !GetAtt LedgerTable.Arn]";

/// Each route's address, as the output that prints it, and its function.
const ADDRESSES: [(&str, &str, &str); 4] = [
    ("GenerateStreamUrl", "generate-stream", "/api/generate-stream"),
    ("GenerateImageUrl", "generate-stream", "/api/generate-image"),
    ("FaceflipStreamUrl", "faceflip-stream", "/api/v1/faceflip/generate/stream"),
    ("GenerationsUrl", "generations", "/api/generations"),
];
/// The functions that need less memory than the others, and how much.
const SMALL: &[(&str, u64)] = &[("faceflip-stream", 128)];
/// The functions that answer when all is done, and call no upstream.
const BUFFERED: &[&str] = &["generations"];

fn file(path: &str) -> String {
    fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// YAML as the template writes it: two spaces a level, and a value on the line of its key or below it.
#[derive(Debug, Clone, PartialEq)]
struct Yaml(String);

impl Yaml {
    fn template() -> Self {
        let text = file("template.yaml");
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        Self(lines.collect::<Vec<_>>().join("\n"))
    }

    fn get(&self, key: &str) -> Option<Self> {
        let mut lines = self.0.lines();
        let inline = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
        if !inline.is_empty() {
            return Some(Self(inline.trim_matches('"').into()));
        }
        Some(Self(lines.map_while(|line| line.strip_prefix("  ")).collect::<Vec<_>>().join("\n")))
    }

    #[track_caller]
    fn at(&self, path: &[&str]) -> Self {
        path.iter().fold(self.clone(), |block, key| block.get(key).unwrap_or_else(|| panic!("no {key} of {path:?}")))
    }

    fn members(&self) -> Vec<(String, Self)> {
        let keys = self.0.lines().filter(|line| !line.starts_with([' ', '-'])).map(|line| line.split(':').next());
        keys.map(|key| (key.unwrap().to_owned(), self.get(key.unwrap()).unwrap())).collect()
    }

    fn list(&self) -> Vec<&str> {
        let inner =
            self.0.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_else(|| panic!("{self:?}"));
        inner.split(',').map(str::trim).collect()
    }

    fn number(&self) -> u64 {
        self.0.parse().unwrap()
    }
}

/// The template's functions: their binary and what they are.
fn functions() -> Vec<(String, Yaml)> {
    let resources = Yaml::template().at(&["Resources"]).members();
    let functions =
        resources.into_iter().filter(|(_, resource)| resource.at(&["Type"]).0 == "AWS::Serverless::Function");
    functions.map(|(_, function)| (function.at(&["Metadata", "BuildProperties", "Binary"]).0, function)).collect()
}

fn environment(function: &Yaml) -> Vec<(String, Yaml)> {
    function.at(&["Properties", "Environment", "Variables"]).members()
}

/// The names that a function's configuration asks for.
fn asked(binary: &str) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    let environment = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        None
    };
    let in_mode =
        |mode: &str, name: &str| environment(name).or_else(|| (name == "IMAGE_API_MODE").then(|| mode.to_owned()));
    match binary {
        // Each mode has a model of its own.
        "generate-stream" => ["chat", "images", "gemini"]
            .iter()
            .for_each(|mode| drop(GenerateConfig::from_env(&|name| in_mode(mode, name)))),
        "faceflip-stream" => drop(FaceflipConfig::from_env(&environment)),
        "generations" => drop(CommonConfig::from_env(&environment)),
        _ => panic!("what does {binary} read?"),
    }
    names.into_inner()
}

fn known(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

#[test]
fn every_function_is_deployed() {
    let folders = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../functions")).unwrap();
    let folders: BTreeSet<_> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let functions = functions();
    assert_eq!(functions.iter().map(|(binary, _)| binary.clone()).collect::<BTreeSet<_>>(), folders);
    for (binary, function) in functions {
        assert_eq!(function.at(&["Metadata", "BuildMethod"]).0, "rust-cargolambda", "{binary}");
        // The lines of docs/operate.md use this name.
        assert_eq!(function.at(&["Properties", "FunctionName"]).0, format!("!Sub ${{AWS::StackName}}-{binary}"));
        let properties: Vec<_> = function.at(&["Properties"]).members().into_iter().map(|(name, _)| name).collect();
        // Anything else would replace what holds for all.
        let own = ["Description", "FunctionName", "Role", "LoggingConfig", "Environment"];
        let buffered: &[&str] =
            if BUFFERED.contains(&binary.as_str()) { &["Timeout", "FunctionUrlConfig"] } else { &[] };
        let small: &[&str] = if SMALL.iter().any(|(small, _)| *small == binary) { &["MemorySize"] } else { &[] };
        let expected: BTreeSet<_> = [&own, buffered, small].concat().into_iter().collect();
        assert_eq!(properties.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{binary}");
    }
}

#[test]
fn functions_that_call_an_upstream_stream_and_outlive_the_longest_call() {
    let all = Yaml::template().at(&["Globals", "Function"]);
    assert_eq!(all.at(&["FunctionUrlConfig", "InvokeMode"]).0, "RESPONSE_STREAM");
    assert_eq!(all.at(&["FunctionUrlConfig", "AuthType"]).0, "NONE");
    assert_eq!(all.at(&["Runtime"]).0, "provided.al2023");
    assert_eq!(all.at(&["MemorySize"]).number(), 256);
    let longest_ms: u64 = known("UPSTREAM_TOTAL_MS").unwrap().default.unwrap().parse().unwrap();
    assert_eq!(all.at(&["Timeout"]).number(), longest_ms / 1000 + 60);
    for (binary, function) in functions() {
        let url = function.at(&["Properties"]).get("FunctionUrlConfig");
        let memory = function.at(&["Properties"]).get("MemorySize").map(|memory| memory.number());
        assert_eq!(memory, SMALL.iter().find(|(small, _)| *small == binary).map(|(_, memory)| *memory), "{binary}");
        let is_buffered = BUFFERED.contains(&binary.as_str());
        // SAM merges a map with that of all, so this is all that differs.
        assert_eq!(url, is_buffered.then(|| Yaml("InvokeMode: BUFFERED".into())), "{binary}");
        // The other way about, a body is empty or comes as JSON in JSON.
        let main = file(&format!("functions/{binary}/src/main.rs"));
        let serve = if is_buffered { "serve_buffered(" } else { "serve_streaming(" };
        assert!(main.contains(&format!("lambda::{serve}")), "{binary}");
    }
}

#[test]
fn every_route_has_a_function_and_a_printed_address() {
    let outputs = Yaml::template().at(&["Outputs"]);
    let (manifest, operate) = (file("Cargo.toml"), file("docs/operate.md"));
    let mut printed = 0;
    for (binary, _) in functions() {
        let source = file(&format!("functions/{binary}/src/lib.rs"));
        let paths = source.split("path: \"").skip(1).map(|rest| rest.split('"').next().unwrap());
        // A path that continues with a parameter has the same address.
        for path in paths.filter(|path| !path.ends_with('/')) {
            let address = ADDRESSES.iter().find(|(_, of, at)| (*of, *at) == (binary.as_str(), path));
            let (output, ..) = address.unwrap_or_else(|| panic!("no address of {path}"));
            let address = outputs.at(&[output, "Value"]).0;
            assert!(address.ends_with(&format!("FunctionUrl}}{}", path.trim_start_matches('/'))), "{address}");
            assert!(manifest.contains(&format!("\n\"{path}\" = \"{binary}\"\n")), "cargo lambda watch routes {path}");
            printed += 1;
        }
    }
    assert_eq!(printed, ADDRESSES.len());
    for parameter in ["{id}", "{id}/pictures"] {
        let route = format!("\n\"/api/generations/{parameter}\" = \"generations\"\n");
        assert!(manifest.contains(&route), "{parameter}");
    }
    for (output, _) in outputs.members() {
        assert!(operate.contains(&format!("`{output}`")), "docs/operate.md does not describe the output {output}");
    }
}

#[test]
fn functions_get_the_variables_that_they_read() {
    for (binary, function) in functions() {
        let asked = asked(&binary);
        for (name, _) in environment(&function) {
            assert!(
                asked.contains(&name) && known(&name).is_some(),
                "{binary} is given {name}, which it does not read"
            );
        }
    }
}

#[test]
fn variables_of_several_functions_have_one_value() {
    let all: Vec<_> = functions().into_iter().map(|(binary, function)| (binary, environment(&function))).collect();
    let mut compared = 0;
    for (name, value) in all.iter().flat_map(|(_, environment)| environment) {
        for (binary, environment) in all.iter().filter(|(binary, _)| asked(binary).contains(name)) {
            let given = environment.iter().find(|(given, _)| given == name).map(|(_, value)| value);
            assert_eq!(given, Some(value), "{name} for {binary}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} were compared");
}

#[test]
fn every_function_can_be_stopped_and_deployed_alone() {
    let operate = file("docs/operate.md");
    for (binary, _) in functions() {
        let name = format!("image-gateway-{binary}");
        for line in [
            format!("aws lambda put-function-concurrency --function-name {name} --reserved-concurrent-executions 0"),
            format!("cargo lambda deploy --binary-name {binary} {name}"),
        ] {
            assert!(operate.contains(&format!("\n{line}\n")), "docs/operate.md has no line: {line}");
        }
    }
}

/// The value of a variable where there is one image upstream.
fn of_one_upstream(value: &str) -> &str {
    let of_one = value.strip_prefix("!If [OneImageUpstream, ").and_then(|rest| rest.strip_suffix(", \"\"]"));
    of_one.unwrap_or(value)
}

/// Every variable that is a parameter's, and the parameter.
fn parameters() -> Vec<(&'static Variable, Yaml)> {
    let parameters = Yaml::template().at(&["Parameters"]);
    let all = functions().into_iter().flat_map(|(_, function)| environment(&function));
    let found = all.filter_map(|(name, value)| {
        Some((known(&name)?, parameters.get(of_one_upstream(&value.0).strip_prefix("!Ref ")?)?))
    });
    found.collect()
}

#[test]
fn defaults_are_those_of_the_code() {
    let parameters = parameters();
    assert!(parameters.len() >= 40, "{} are compared", parameters.len());
    for (variable, parameter) in parameters {
        let (name, default) = (variable.name, parameter.get("Default").map(|default| default.0));
        match (variable.default, default.as_deref()) {
            (_, None) => assert!(NO_DEFAULT.contains(&name), "{name} has no default"),
            (_, Some("")) => {}
            (Some(expected), Some(default)) => assert_eq!(default, expected, "{name}"),
            (None, Some(_)) => assert_eq!(name, "IMAGE_API_BASE_URL", "only the template knows an address"),
        }
    }
}

#[test]
fn allowed_values_are_those_of_the_code() {
    let (mut numbers, mut words) = (BTreeSet::new(), BTreeSet::new());
    for (variable, parameter) in parameters() {
        let name = variable.name;
        match variable.values {
            AllowedValues::Count { min, max } | AllowedValues::Milliseconds { min, max } => {
                assert_eq!(parameter.at(&["MinValue"]).number(), min, "{name}");
                assert_eq!(parameter.at(&["MaxValue"]).number(), max, "{name}");
                numbers.insert(name);
            }
            AllowedValues::OneOf(_) => {
                let allowed = parameter.at(&["AllowedValues"]);
                let mut allowed: Vec<_> = allowed.list().iter().map(|word| word.trim_matches('"')).collect();
                // An empty parameter is a variable that is not set.
                let optional = variable.default.is_none() && allowed.first() == Some(&"");
                allowed.drain(..usize::from(optional));
                let (last, others) = allowed.split_last().unwrap();
                assert_eq!(format!("{} or {last}", others.join(", ")), variable.values.to_string(), "{name}");
                words.insert(name);
            }
            _ => {}
        }
    }
    assert!(numbers.len() >= 6 && words.len() >= 5, "{numbers:?} {words:?}");
}

#[test]
fn no_key_is_ever_in_a_variable() {
    let template = Yaml::template();
    for (binary, function) in functions() {
        let environment = environment(&function);
        assert!(environment.len() > 5, "{binary}");
        for (name, value) in &environment {
            assert!(value.0.starts_with("!Ref ") || value.0.starts_with("!If ["), "{name} is written out: {value:?}");
            assert!(known(name).is_none_or(|variable| variable.values != AllowedValues::Key), "{name}");
            let words: Vec<_> = name.split('_').collect();
            let last = words.last().copied().unwrap_or_default();
            assert!(!["KEY", "SECRET", "TOKEN", "PASSWORD"].contains(&last), "{name} looks like a key");
        }
        let secrets: Vec<_> = environment.iter().filter(|(name, _)| name.ends_with("_SECRET_ARN")).collect();
        let expected = match binary.as_str() {
            "generate-stream" => 4,
            "faceflip-stream" => 3,
            _ => 2,
        };
        assert_eq!(
            secrets.len(),
            expected,
            "{binary} has routes, its upstream's key, the legacy secret, the bucket's key"
        );
    }
    for never in ["SecretString", "NoEcho", "resolve:secretsmanager"] {
        assert!(!template.0.contains(never), "{never} puts a key where it can be read back");
    }
}

#[test]
fn each_role_reaches_its_own_secret_the_tables_and_the_pictures() {
    let resources = Yaml::template().at(&["Resources"]);
    // The policy of the bucket denies.
    let (allowed, _) = resources.0.split_once("\nPicturesBucketPolicy:").unwrap();
    assert!(!allowed.replace(PICTURES, "").contains('*'), "nothing is allowed by a star but the pictures");
    for (binary, function) in functions() {
        let role = function.at(&["Properties", "Role"]).0;
        let role = role.strip_prefix("!GetAtt ").and_then(|rest| rest.strip_suffix(".Arn")).unwrap().to_owned();
        let policies = resources.at(&[&role, "Properties", "Policies"]).0;
        let all = |key: &str| -> Vec<_> {
            policies.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::to_owned).collect()
        };
        let logs = function.at(&["Properties", "LoggingConfig", "LogGroup"]).0.replace("!Ref", "!GetAtt") + ".Arn";
        for condition in ["HasLegacySecret", "HasPicturesKey", "CreatePicturesBucket"] {
            assert!(policies.contains(&format!("- {condition}\n")), "an empty ARN is no resource");
        }
        let mut allowed = vec![(OWN_LOGS, logs)];
        let key = environment(&function).into_iter().find(|(name, _)| name.ends_with("_API_KEY_SECRET_ARN"));
        allowed.extend(key.map(|(_, secret)| (SECRET, of_one_upstream(&secret.0).to_owned())));
        if binary == "generate-stream" {
            let others = ["ImageRoutesSecretArn", "ImageUpstreamKeyArns"];
            allowed.extend(others.map(|parameter| (SECRET, format!("!Ref {parameter}"))));
        }
        allowed.push((SECRET, "!Ref SupabaseJwtSecretArn".to_owned()));
        allowed.push((SECRET, "!Ref PicturesStoreKeySecretArn".to_owned()));
        match BUFFERED.contains(&binary.as_str()) {
            // What it does is counted in its test of a DynamoDB that fails.
            true => allowed.extend([
                ("dynamodb:GetItem", TABLES.to_owned()),
                ("dynamodb:Query", "!Sub ${LedgerTable.Arn}/index/created".to_owned()),
                ("dynamodb:UpdateItem", "!GetAtt LedgerTable.Arn".to_owned()),
                ("[s3:GetObject, s3:DeleteObject]", format!("!Sub {PICTURES}")),
            ]),
            false => allowed
                .extend([(WRITE, TABLES.to_owned()), ("[s3:PutObject, s3:GetObject]", format!("!Sub {PICTURES}"))]),
        }
        let (actions, reached): (Vec<_>, Vec<_>) = allowed.into_iter().unzip();
        assert_eq!(all("Action: "), actions, "{binary}");
        assert_eq!(all("Resource: "), reached, "{binary}");
    }
    assert!(resources.at(&["LedgerTable"]).0.contains("\n    - IndexName: created\n"), "the index of the log");
}

#[test]
fn the_tables_are_what_the_expressions_expect() {
    let resources = Yaml::template().at(&["Resources"]);
    for (table, kept) in [("RateLimitsTable", "Delete"), ("LedgerTable", "Retain")] {
        let table = resources.at(&[table]);
        assert_eq!(table.at(&["DeletionPolicy"]).0, kept);
        assert_eq!(table.at(&["UpdateReplacePolicy"]).0, kept);
        assert_eq!(table.at(&["Properties", "BillingMode"]).0, "PAY_PER_REQUEST");
        assert_eq!(table.at(&["Properties", "SSESpecification"]).0, "{ SSEEnabled: true }");
        assert_eq!(table.at(&["Properties", "TimeToLiveSpecification"]).0, "{ AttributeName: ttl, Enabled: true }");
    }
    let key = |table: &str| resources.at(&[table, "Properties", "KeySchema"]).0;
    assert_eq!(key("RateLimitsTable"), "- { AttributeName: pk, KeyType: HASH }");
    assert_eq!(key("LedgerTable"), "- { AttributeName: pk, KeyType: HASH }\n- { AttributeName: sk, KeyType: RANGE }");
    assert!(resources.at(&["LedgerTable"]).0.contains("PointInTimeRecoveryEnabled: true"));
}

#[test]
fn the_bucket_is_private_and_empties_itself() {
    let resources = Yaml::template().at(&["Resources"]);
    let bucket = resources.at(&["PicturesBucket"]);
    assert_eq!(bucket.at(&["DeletionPolicy"]).0, "Retain");
    assert_eq!(bucket.at(&["UpdateReplacePolicy"]).0, "Retain");
    let property = |name: &str| bucket.at(&["Properties", name]).0;
    assert_eq!(property("PublicAccessBlockConfiguration").matches(": true").count(), 4);
    assert!(property("BucketEncryption").contains("SSEAlgorithm: AES256"));
    assert!(property("OwnershipControls").contains("BucketOwnerEnforced"));
    let rule = property("LifecycleConfiguration");
    assert!(rule.contains("Status: Enabled, Prefix: p/, ExpirationInDays: !Ref PictureDays"), "{rule}");
    let cors = property("CorsConfiguration");
    assert!(cors.contains("- AllowedOrigins: !Ref AllowedOrigins\n"), "{cors}");
    let list = |key: &str| {
        let line = cors.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
        Yaml(line.to_owned()).list().iter().map(|word| word.to_lowercase()).collect::<Vec<_>>()
    };
    let policy = resources.at(&["PicturesBucketPolicy", "Properties", "PolicyDocument"]).0;
    assert!(policy.contains("Effect: Deny") && policy.contains("aws:SecureTransport: \"false\""), "{policy}");

    // The local stack's bucket has the same rule.
    let engine = file("dev/src/s3.rs");
    assert_eq!(list("AllowedMethods: "), ["get", "head"]);
    assert!(engine.contains(".allow_methods([Method::GET, Method::HEAD])"));
    assert_eq!(list("AllowedHeaders: "), ["range"]);
    assert!(engine.contains(".allow_headers([header::RANGE])"));
    assert_eq!(list("ExposedHeaders: "), ["etag", "content-length", "content-range"]);
    assert!(engine.contains(".expose_headers([header::ETAG, header::CONTENT_LENGTH, header::CONTENT_RANGE])"));
    assert!(cors.contains("MaxAge: 86400") && engine.contains("from_secs(86400)"));
}

#[test]
fn one_list_of_cors_everywhere() {
    let template = Yaml::template();
    assert_eq!(template.0.matches("Cors:").count(), 1, "in one place, beside that of the bucket");
    let cors = template.at(&["Globals", "Function", "FunctionUrlConfig", "Cors"]);
    assert_eq!(cors.at(&["AllowOrigins"]).0, "!Ref AllowedOrigins");
    assert_eq!(cors.at(&["AllowHeaders"]).list(), ALLOWED_HEADERS);
    assert_eq!(cors.at(&["ExposeHeaders"]).list(), EXPOSED_HEADERS);
    assert_eq!(cors.at(&["MaxAge"]).number(), 86400);
    // With them a page of an allowed origin would send cookies, which nothing here reads.
    assert_eq!(cors.get("AllowCredentials"), None);

    let stack = file("dev/examples/stack/serve.rs");
    let words = |constant: &str| {
        let (_, list) = stack.split_once(&format!("const {constant}: [&str;")).unwrap();
        let list = list.split_once(';').unwrap().0.to_owned();
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("ALLOWED_HEADERS"), ALLOWED_HEADERS);
    assert_eq!(words("EXPOSED_HEADERS"), EXPOSED_HEADERS);
    let methods = stack.split(".allow_methods([").nth(1).unwrap().split(']').next().unwrap();
    let methods: Vec<_> = methods.split(',').map(|method| method.rsplit(':').next().unwrap()).collect();
    assert_eq!(cors.at(&["AllowMethods"]).list(), methods);
    assert!(stack.contains("from_secs(86400)"));
}
