use std::io;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// A TCP connection, plain on the left, with TLS on the right. The latter is boxed, because it is some hundred bytes and most
/// connections are plain.
pub(super) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Registers the connection with the calling runtime. One with TLS stays registered with its first runtime, because it
/// cannot be taken apart.
///
/// # Errors
/// If the system refuses.
pub(super) fn move_to_current_runtime(transport: Transport) -> io::Result<Transport> {
    Ok(match transport {
        Either::Left(stream) => Either::Left(TcpStream::from_std(stream.into_std()?)?),
        Either::Right(stream) => Either::Right(stream),
    })
}
