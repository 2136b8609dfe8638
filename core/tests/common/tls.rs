//! A certificate of `target.test`, 2026-11-29 to 2036-11-26, by a CA that nobody else knows, and the
//! TLS server that has it.
//!
//! ```sh
//! openssl ecparam -name prime256v1 -genkey -noout -out ca.key
//! openssl req -x509 -new -key ca.key -subj "/CN=forebay test CA" -days 36500 -sha256 -out ca.pem
//! openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out server.key
//! openssl req -new -key server.key -subj "/CN=target" -out server.csr
//! printf "subjectAltName=DNS:target.test\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n" > ext
//! openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -sha256 -extfile ext -out server.pem
//! ```

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Who vouches for it.
pub(crate) const CA: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBizCCATGgAwIBAgIUCZnPKoqemF1BrWvRDSQDnqMAn8IwCgYIKoZIzj0EAwIw\n\
GjEYMBYGA1UEAwwPZm9yZWJheSB0ZXN0IENBMCAXDTI2MTEyOTE2MzMyNFoYDzIx\n\
MjYxMTA1MTYzMzI0WjAaMRgwFgYDVQQDDA9mb3JlYmF5IHRlc3QgQ0EwWTATBgcq\n\
hkjOPQIBBggqhkjOPQMBBwNCAATDa0qrqAQwQ34hmC2mRtf6MEHQAPbm+ZaEujnV\n\
r8BUw8friFF7ITnOIcwsf2pGz3u8HEP9rQJGxI2xrIpaUp8Jo1MwUTAdBgNVHQ4E\n\
FgQU2+2L2NgJWiJR1t5EVI5EqGHKB/8wHwYDVR0jBBgwFoAU2+2L2NgJWiJR1t5E\n\
VI5EqGHKB/8wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB21qpn\n\
K3RKLwKlibGaVKK54nnvils4B8J+XDfhDH+3kwIhAJVZUZzpgwrv8TuKhVFv+oJh\n\
YroQal7FgN13nPAPyl8A\n\
-----END CERTIFICATE-----\n";

const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBpzCCAU2gAwIBAgIUNdJk+xLFl5HiKv6fKF1uH247eJgwCgYIKoZIzj0EAwIw\n\
GjEYMBYGA1UEAwwPZm9yZWJheSB0ZXN0IENBMB4XDTI2MTEyOTE2MzMyNloXDTM2\n\
MTEyNjE2MzMyNlowETEPMA0GA1UEAwwGdGFyZ2V0MFkwEwYHKoZIzj0CAQYIKoZI\n\
zj0DAQcDQgAEwjodPO2phT9U9yKHhrksbyRo5ZRkrcBhKdLQv7KePj9Jvl04Hwk+\n\
X19Rk6cjqMpGbrw2fsR3IlARVH1YlYr736N6MHgwFgYDVR0RBA8wDYILdGFyZ2V0\n\
LnRlc3QwCQYDVR0TBAIwADATBgNVHSUEDDAKBggrBgEFBQcDATAdBgNVHQ4EFgQU\n\
r57XcO9rhQSJUcgHqEVDi9rBw8MwHwYDVR0jBBgwFoAU2+2L2NgJWiJR1t5EVI5E\n\
qGHKB/8wCgYIKoZIzj0EAwIDSAAwRQIgaenjAkY9pLMhUv5WTjGeXi/nN2pR5vVp\n\
z4jOuwxeMvoCIQCkQRrdNGpiPI4nI4c+oalMuL7QMymJXH0x5x+FBl09ww==\n\
-----END CERTIFICATE-----\n";

const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgM37IJUQXC0g3aWu2\n\
HRaE+ibFe8Us5Wm+ymSAM3XF0YahRANCAATCOh087amFP1T3IoeGuSxvJGjllGSt\n\
wGEp0tC/sp4+P0m+XTgfCT5fX1GTpyOoykZuvDZ+xHciUBFUfViVivvf\n\
-----END PRIVATE KEY-----\n";

/// Seconds since 1970 at which the certificate holds.
pub(crate) const VALID_AT: u64 = 1_900_000_000;
/// … and at which it has expired.
pub(crate) const EXPIRED_AT: u64 = 2_200_000_000;

pub(crate) fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
