use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError as ClientError, TlsCertificates, TlsMode,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::url::Address;
use super::{Options, RedisError, Url};

/// The longest wait for a connection: the way there, TLS and the password.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait for Sentinels to say where the server is.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(3);

/// Where connections go.
pub(super) enum Target {
    /// One server.
    Server(Box<Client>),
    /// The server that Sentinels call the master at the moment.
    Master(Box<Mutex<SentinelClient>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("{0}")]
    Refused(#[from] ClientError),
}

impl Target {
    pub(super) fn new(options: &Options) -> Result<Self, RedisError> {
        let refused = |error: ClientError| RedisError(format!("REDIS_URL: {error}"));
        let Url(Some(address)) = &options.url else {
            return Err(RedisError("REDIS_URL: there is none".to_owned()));
        };
        let certificates = certificates(options)?;
        match &address.master {
            None => server(address, certificates).map(|client| Self::Server(Box::new(client))),
            Some(name) => {
                sentinels(address, name, certificates).map(|client| Self::Master(Box::new(Mutex::new(client))))
            }
        }
        .map_err(refused)
    }

    async fn client(&self) -> Result<Client, ConnectError> {
        match self {
            Self::Server(client) => Ok((**client).clone()),
            Self::Master(sentinels) => {
                let mut sentinels = sentinels.lock().await;
                within(SENTINEL_TIMEOUT, sentinels.async_get_client()).await
            }
        }
    }

    /// A connection for commands.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, ConnectError> {
        // Every request has a shorter timeout of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let client = self.client().await?;
        within(CONNECT_TIMEOUT, client.get_multiplexed_async_connection_with_config(&config)).await
    }

    /// A connection for subscriptions.
    pub(super) async fn subscribe(&self) -> Result<PubSub, ConnectError> {
        let client = self.client().await?;
        within(CONNECT_TIMEOUT, client.get_async_pubsub()).await
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ConnectError> {
    Ok(timeout(limit, request).await.map_err(|_| ConnectError::TimedOut(limit))??)
}

fn server(address: &Address, certificates: Option<TlsCertificates>) -> Result<Client, ClientError> {
    let addr = address.hosts.first().map(|host| host_address(host, address.has_tls));
    let addr = addr.ok_or((redis::ErrorKind::InvalidClientConfig, "no host"))?;
    let mut login = RedisConnectionInfo::default().set_db(i64::from(address.database));
    if let Some(user) = &address.user {
        login = login.set_username(user);
    }
    if let Some(password) = &address.password {
        login = login.set_password(password);
    }
    let info: ConnectionInfo = addr.into_connection_info()?.set_redis_settings(login);
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn sentinels(
    address: &Address,
    name: &str,
    certificates: Option<TlsCertificates>,
) -> Result<SentinelClient, ClientError> {
    let hosts: Vec<ConnectionAddr> = address.hosts.iter().map(|host| host_address(host, address.has_tls)).collect();
    let mut builder = SentinelClientBuilder::new(hosts, name, SentinelServerType::Master)?
        .set_client_to_redis_db(i64::from(address.database));
    if let Some(user) = &address.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &address.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if address.has_tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
    }
    builder.build()
}

fn host_address((host, port): &(String, u16), has_tls: bool) -> ConnectionAddr {
    let (host, port) = (host.clone(), *port);
    if has_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn certificates(options: &Options) -> Result<Option<TlsCertificates>, RedisError> {
    let Some(path) = &options.ca_file else { return Ok(None) };
    let root_cert =
        std::fs::read(path).map_err(|error| RedisError(format!("REDIS_CA_FILE {}: {error}", path.display())))?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
}
