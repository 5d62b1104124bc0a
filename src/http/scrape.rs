use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderValue, Method, Request};
use warp::reply::Response;

use super::error::HttpError;
use super::target::to_origin_form;
use crate::observe::is_after_1970;

/// How many connections may be open; each scraper needs one.
const CONNECTIONS: usize = 16;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error of this machine, such as too many open files.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The text form of Prometheus.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Serves `/metrics`, and nothing else, on its own listener. It is not for players, and it answers when the main listener is
/// overloaded.
pub async fn serve_metrics(listener: TcpListener, scrape: impl Fn() -> String + Send + Sync + 'static) {
    let scrape = Arc::new(scrape);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It fails only for a closed semaphore, and this one stays open.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                log::warn!("no scrape can be accepted: {error}");
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
        };
        let scrape = Arc::clone(&scrape);
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .auto_date_header(is_after_1970())
                .serve_connection(TokioIo::new(stream), service_fn(|request| answer(request, Arc::clone(&scrape))));
            // A scraper that disconnects needs no answer.
            drop(connection.await);
            drop(permit);
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    scrape: Arc<impl Fn() -> String + Send + Sync + 'static>,
) -> Result<Response, Infallible> {
    if let Err(refusal) = to_origin_form(&mut request) {
        return Ok(refusal.response());
    }
    Ok(match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => {
            // With thousands of rooms this takes a millisecond or two.
            match tokio::task::spawn_blocking(move || scrape()).await {
                Ok(text) => {
                    let mut response = Response::new(text.into());
                    response.headers_mut().insert(CONTENT_TYPE, TEXT);
                    response
                }
                Err(_) => HttpError::Internal.response(),
            }
        }
        ("/metrics", _) => HttpError::ReadOnly.response(),
        _ => HttpError::NotFound.response(),
    })
}
