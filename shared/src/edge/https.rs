//! HTTPS clients with one set of root certificates: reading them is most of the start of a process.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};

static TLS: LazyLock<Option<ClientConfig>> = LazyLock::new(tls);

/// A client that follows no redirect (a key would be sent with it), uses no proxy, and keeps no connection: one that
/// froze together with the function fails when it is used again. `None` if the system has no root certificates, which is
/// logged once.
pub(super) fn https_client(connect_timeout: Duration) -> Option<reqwest::ClientBuilder> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(TLS.clone()?).connect_timeout(connect_timeout);
    Some(client.redirect(Policy::none()).no_proxy().pool_max_idle_per_host(0).tcp_nodelay(true))
}

fn tls() -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        tracing::error!("no TLS client: are root certificates installed?");
        return None;
    }
    let config =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let mut config = config.ok()?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(config)
}
