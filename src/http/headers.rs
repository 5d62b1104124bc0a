use warp::http::header::{
    AsHeaderName, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::http::{HeaderMap, HeaderValue};
use warp::reply::Response;

/// Our page needs nothing from elsewhere and runs nothing that is written into it.
pub(super) const STRICT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     manifest-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'",
);

/// Another client may have scripts and styles in its page and a web font from elsewhere; what it must not do is load
/// scripts from elsewhere or be shown in a foreign frame.
pub(super) const COMPATIBLE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline' https:; \
     font-src 'self' data: https:; img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self'; \
     object-src 'none'; base-uri 'self'; frame-ancestors 'none'",
);

/// Answers that are not pages render nothing.
const BARE_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The game needs no devices.
const NO_DEVICES: &str = "accelerometer=(), bluetooth=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                          hid=(), magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=()";

/// Browsers that came by https use it for half a year, whatever a proxy in between wants.
const HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=15552000");

/// Caches may keep only answers that allow it.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");

/// Sets the headers of every answer. A route's own policies stay.
pub(super) fn protect(headers: &mut HeaderMap, is_secure: bool) {
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(BARE_POLICY);
    headers.entry(CACHE_CONTROL).or_insert(NOT_KEPT);
    if is_secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), NO_DEVICES),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The entries of a header that is a list, over all its lines.
pub(super) fn list(headers: &HeaderMap, name: impl AsHeaderName) -> impl DoubleEndedIterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

/// Sets a header of an answer. The value is plain ASCII.
pub(super) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
