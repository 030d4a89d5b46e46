//! What a handler answers. The type documents itself: `Result<Json<Lead>, Problem>` is
//! all that the OpenAPI document needs.

use super::Problem;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, RefOr, Response as ResponseDoc, ResponseBuilder, Type, extensions::Extensions},
};

/// 200 with a JSON document.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// 200 with a document that has a version, told in `ETag`; see [`super::IfMatch`].
#[derive(Debug, Clone)]
pub struct Versioned<T> {
    pub value: T,
    pub version: i64,
}

/// The ETag of a version.
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"v{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"v0\""))
}

/// An answer from JSON that is ready, such as one that was kept for an idempotency key.
pub fn json_bytes(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::internal().into_response()
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::OK, &self.value);
        response.headers_mut().insert(header::ETAG, etag(self.version));
        response
    }
}

/// Where [`document`] leaves the schemas that an answer refers to, since utoipa has no place for them;
/// [`super::openapi`] moves them to the components.
pub(super) const SCHEMAS: &str = "x-goodword-schemas";

/// Documents an answer with a JSON body.
pub fn document<T: ToSchema>(description: &str) -> ResponseBuilder {
    let mut schemas = Vec::new();
    T::schemas(&mut schemas);
    let schema = match component_name::<T>() {
        None => T::schema(),
        Some(name) => {
            schemas.push((name.clone(), T::schema()));
            RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
        }
    };
    let stash: serde_json::Map<_, _> = schemas.into_iter().filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?))).collect();
    ResponseBuilder::new()
        .description(description)
        .content("application/json", ContentBuilder::new().schema(Some(schema)).build())
        .extensions(Some(Extensions::builder().add(SCHEMAS, stash).build()))
}

/// The name of a type's component: `Lead`, and `List_Lead` for `List<Lead>`, as utoipa's macros have it.
/// None where the schema is written in place.
fn component_name<T: ToSchema>() -> Option<String> {
    let name = T::name();
    if matches!(&*name, "Value" | "Vec" | "Option") {
        return None;
    }
    let path = std::any::type_name::<T>();
    let Some((_, arguments)) = path.split_once('<') else { return Some(name.into_owned()) };
    let arguments = arguments.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').filter(|part| !part.is_empty());
    Some(arguments.fold(name.into_owned(), |name, part| name + "_" + part.rsplit("::").next().unwrap_or(part)))
}

fn header_doc(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).description(Some(description)).build()
}

fn only(status: &str, doc: ResponseBuilder) -> BTreeMap<String, RefOr<ResponseDoc>> {
    BTreeMap::from([(status.to_owned(), doc.build().into())])
}

impl<T: ToSchema> IntoResponses for Json<T> {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        only("200", document::<T>("Done."))
    }
}

impl<T: ToSchema> IntoResponses for Versioned<T> {
    fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
        only("200", document::<T>("Done.").header("ETag", etag_doc()))
    }
}

/// Documents the address of what was made.
pub fn location_doc() -> utoipa::openapi::Header {
    header_doc("The path of what was created.")
}

/// Documents the ETag.
pub fn etag_doc() -> utoipa::openapi::Header {
    header_doc("The version, for If-Match.")
}
