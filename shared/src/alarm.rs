//! The classes of log lines that need an operator.

/// The class of a line with `"alarm":true`, which names it as `alarm_class`. `template.yaml` has an alarm for each, and
/// `docs/operate.md` says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// An upstream refuses the key.
    UpstreamAuth,
    /// An upstream's account has no balance or quota.
    UpstreamQuota,
    /// An upstream does not know the model, a setting or the address.
    UpstreamConfig,
    /// A table refuses requests or holds a malformed item, or a settlement was not written.
    Ledger,
    /// The store of the pictures failed.
    Store,
    /// The project's key set is not safe.
    SignIn,
    /// A variable or a secret is missing or wrong.
    Configuration,
    /// The budget of all users is used up, or soon will be.
    Budget,
    /// A bug in this service.
    Internal,
}

impl Alarm {
    /// All classes.
    pub const ALL: &'static [Alarm] = &[
        Alarm::UpstreamAuth,
        Alarm::UpstreamQuota,
        Alarm::UpstreamConfig,
        Alarm::Ledger,
        Alarm::Store,
        Alarm::SignIn,
        Alarm::Configuration,
        Alarm::Budget,
        Alarm::Internal,
    ];

    /// The name in the log and in the template.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamAuth => "upstream_auth",
            Self::UpstreamQuota => "upstream_quota",
            Self::UpstreamConfig => "upstream_config",
            Self::Ledger => "ledger",
            Self::Store => "store",
            Self::SignIn => "sign_in",
            Self::Configuration => "configuration",
            Self::Budget => "budget",
            Self::Internal => "internal",
        }
    }
}
