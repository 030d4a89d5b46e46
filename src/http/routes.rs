//! Routes with their documentation, which is made when somebody asks for it: made at every start, it would take
//! more memory than the idle server does.

use super::App;
use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter},
};
use std::{collections::HashMap, sync::LazyLock};
use utoipa::openapi::{OpenApi, RefOr, path::ParameterIn};
use utoipa_axum::{PathItemExt, router::OpenApiRouter};

/// Makes documentation.
pub type Document = fn() -> OpenApiRouter<App>;

/// Routes, and how they are documented.
#[derive(Default)]
pub struct Routes {
    pub(super) router: Router<App>,
    pub(super) queries: Queries,
    documents: Vec<Document>,
}

impl Routes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what [`routes!`] made.
    pub fn routes(mut self, address: Address) -> Self {
        self.router = self.router.route(&address.path, address.handlers);
        self.queries.0.insert(address.path, address.queries);
        self.documented(address.document)
    }

    pub fn documented(mut self, document: Document) -> Self {
        self.documents.push(document);
        self
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.queries.0.extend(other.queries.0);
        self.documents.extend(other.documents);
        self
    }

    /// Makes what the routes say of themselves.
    pub fn document(&self) -> impl Fn() -> OpenApi + Clone + Send + Sync + use<> {
        let documents = self.documents.clone();
        move || documents.iter().fold(OpenApiRouter::default(), |all, document| all.merge(document())).into_openapi()
    }
}

/// The handlers of one path.
pub struct Address {
    path: String,
    handlers: MethodRouter<App>,
    queries: Vec<(MethodFilter, LazyLock<bool>)>,
    document: Document,
}

impl Address {
    pub fn new(document: Document) -> Self {
        Self { path: String::new(), handlers: MethodRouter::new(), queries: Vec::new(), document }
    }

    /// Adds a handler, and what `#[utoipa::path]` made of it.
    pub fn on<P: utoipa::Path, T: 'static>(mut self, _: P, handler: impl Handler<T, App>) -> Self {
        self.path = P::path();
        for method in P::methods() {
            let method = method.to_method_filter();
            self.handlers = self.handlers.on(method, handler.clone());
            self.queries.push((method, LazyLock::new(reads_query::<P>)));
        }
        self
    }
}

fn reads_query<P: utoipa::Path>() -> bool {
    let parameters = P::operation().parameters.unwrap_or_default();
    parameters.iter().any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query))
}

/// Which handlers read the query string, by their paths.
#[derive(Default)]
pub(super) struct Queries(HashMap<String, Vec<(MethodFilter, LazyLock<bool>)>>);

impl Queries {
    /// Whether there is a handler which does not.
    pub fn are_ignored(&self, method: &Method, path: &str) -> bool {
        let handlers = self.0.get(path).into_iter().flatten();
        let mut handlers = handlers.filter(|(filter, _)| MethodFilter::try_from(method.clone()).is_ok_and(|method| method == *filter));
        handlers.any(|(_, reads_query)| !**reads_query)
    }
}

/// An [`Address`] of handlers with the same path, each with `#[utoipa::path]`.
macro_rules! routes {
    ($($handler:ident),+) => {
        utoipa_axum::paste! {
            $crate::http::routes::Address::new(|| utoipa_axum::router::OpenApiRouter::new().routes(utoipa_axum::routes!($($handler),+)))$(.on([<__path_ $handler>], $handler))+
        }
    };
}
pub(crate) use routes;
