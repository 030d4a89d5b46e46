//! The page of the API reference, written from the OpenAPI document: no script is needed
//! to read it, and none comes from elsewhere.

use super::openapi::operations;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value, json};

pub(super) const CSS: &str = include_str!("reference.css");
pub(super) const SCRIPT: &str = include_str!("reference.js");
pub(super) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How far nested objects are unfolded; deeper ones are named.
const DEPTH_MAX: usize = 4;

/// The whole page.
pub(super) fn page(document: &Value) -> Markup {
    let reference = Reference { document };
    let chapters = reference.chapters();
    let info = &document["info"];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (text(&info["title"])) " API reference" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/docs/reference.css";
                script src="/docs/reference.js" defer {}
            }
            body {
                a.skip href="#operations" { "Skip to the operations" }
                header.top {
                    p.brand { (text(&info["title"])) span { "API reference" } }
                    p.meta { "Version " (text(&info["version"])) " · " a href="/openapi.json" { "OpenAPI document" } }
                }
                div.layout {
                    nav.side aria-label="Chapters" {
                        div.search hidden {
                            label for="search" { "Search the operations" }
                            input #search type="search" autocomplete="off" placeholder="leads, POST, reward …" aria-describedby="found";
                            p #found.hint role="status" {}
                        }
                        ul {
                            li { a href="#start" { "Getting started" } }
                            @for chapter in &chapters {
                                li {
                                    a href={ "#" (slug(chapter.name)) } { (title_case(chapter.name)) }
                                    ul { @for operation in &chapter.operations {
                                        li data-operation=(operation.haystack()) {
                                            a href={ "#" (operation.id()) } { (method_badge(operation.method)) span.label { (operation.summary()) } }
                                        }
                                    } }
                                }
                            }
                            li { a href="#objects" { "Objects" } }
                        }
                    }
                    main #operations {
                        (reference.start())
                        @for chapter in &chapters {
                            section.chapter aria-labelledby=(slug(chapter.name)) {
                                h2 #(slug(chapter.name)) { (title_case(chapter.name)) }
                                @if !chapter.about.is_empty() { (prose(chapter.about)) }
                                @for operation in &chapter.operations { (reference.operation(operation)) }
                            }
                        }
                        (reference.objects())
                        p #nothing.hint hidden { "No operation matches." }
                    }
                }
            }
        }
    }
}

struct Reference<'a> {
    document: &'a Value,
}

struct Chapter<'a> {
    name: &'a str,
    about: &'a str,
    operations: Vec<Operation<'a>>,
}

struct Operation<'a> {
    path: &'a str,
    method: &'static str,
    content: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> String {
        let id = text(&self.content["operationId"]);
        if id.is_empty() { slug(&format!("{} {}", self.method, self.path)) } else { slug(id) }
    }

    fn summary(&self) -> &str {
        let summary = text(&self.content["summary"]).trim_end_matches('.');
        if summary.is_empty() { self.path } else { summary }
    }

    /// What the search looks through.
    fn haystack(&self) -> String {
        format!("{} {} {}", self.method, self.path, self.summary()).to_lowercase()
    }
}

impl<'a> Reference<'a> {
    /// In the order of the document's tags; those without a tag come last.
    fn chapters(&self) -> Vec<Chapter<'a>> {
        let declared = self.document["tags"].as_array().into_iter().flatten();
        let mut chapters: Vec<Chapter<'a>> =
            declared.map(|tag| Chapter { name: text(&tag["name"]), about: text(&tag["description"]), operations: Vec::new() }).collect();
        for (path, method, content) in operations(self.document) {
            let method = ["get", "post", "put", "patch", "delete"].into_iter().find(|name| *name == method).unwrap_or("get");
            let tag = content["tags"][0].as_str().unwrap_or("other");
            let operation = Operation { path, method, content };
            match chapters.iter_mut().find(|chapter| chapter.name == tag) {
                Some(chapter) => chapter.operations.push(operation),
                None => chapters.push(Chapter { name: tag, about: "", operations: vec![operation] }),
            }
        }
        chapters.retain(|chapter| !chapter.operations.is_empty());
        chapters
    }

    fn start(&self) -> Markup {
        let server = self.server();
        html! {
            section.chapter aria-labelledby="start" {
                h1 #start { "Getting started" }
                (prose(text(&self.document["info"]["description"])))
                h3 { "Every request carries an API key" }
                (code(&format!("curl {server}/v1/me \\\n  -H \"Authorization: Bearer $GOODWORD_KEY\"")))
                p { "Tools that cannot set " code { "Authorization" } " send the same key as " code { "X-Api-Key" } ". Keys never belong into an address. "
                    "A key is bound to live or to test data; the two never meet." }
                h3 { "Errors" }
                p { "Every refusal is an " code { "application/problem+json" } " document:" }
                (code(&pretty(&json!({
                    "type": "https://goodword.dev/problems/invalid", "title": "The request is not valid", "status": 422, "code": "invalid",
                    "detail": "/email: expected an e-mail address.",
                    "errors": [{"field": "/email", "detail": "Expected an e-mail address."}], "request_id": "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
                }))))
                (self.common_answers())
            }
        }
    }

    /// The answers that every operation may give are told once.
    fn common_answers(&self) -> Markup {
        let some_operation = operations(self.document).find_map(|(_, _, content)| content["responses"].as_object());
        html! {
            details.common {
                summary { "The answers that every operation may give" }
                dl { @for (status, response) in some_operation.into_iter().flatten().filter(|(_, response)| response["$ref"].is_string()) {
                    dt { (status) }
                    dd { (text(&self.resolve(response)["description"])) }
                } }
            }
        }
    }

    fn server(&self) -> &'a str {
        text(&self.document["servers"][0]["url"])
    }

    fn resolve<'v>(&self, value: &'v Value) -> &'v Value
    where
        'a: 'v,
    {
        let mut value = value;
        for _ in 0..8 {
            match value["$ref"].as_str().and_then(|reference| self.document.pointer(reference.strip_prefix('#')?)) {
                Some(target) => value = target,
                None => break,
            }
        }
        value
    }

    fn operation(&self, operation: &Operation<'_>) -> Markup {
        let content = operation.content;
        let parameters: Vec<&Value> = content["parameters"].as_array().into_iter().flatten().map(|parameter| self.resolve(parameter)).collect();
        let body = self.resolve(&content["requestBody"]);
        html! {
            details.operation #(operation.id()) data-operation=(operation.haystack()) {
                summary {
                    (method_badge(operation.method))
                    span.what { span.title { (operation.summary()) } code.path { (breakable(operation.path)) } }
                }
                div.detail {
                    @if let Some(description) = content["description"].as_str() { (prose(description)) }
                    @for (place, title) in [("path", "In the path"), ("query", "In the query"), ("header", "In the headers")] {
                        @let here: Vec<_> = parameters.iter().filter(|parameter| parameter["in"] == place).collect();
                        @if !here.is_empty() {
                            h3 { (title) }
                            ul.fields { @for parameter in here { (self.parameter(parameter)) } }
                        }
                    }
                    @if let Some(media) = body["content"].as_object() {
                        h3 { "Body" @for name in media.keys() { " " code.media { (name) } } }
                        @if let Some(schema) = media.values().next().map(|media| &media["schema"]) {
                            (self.fields(schema, 0))
                        }
                    }
                    h3 { "Example" }
                    (code(&self.curl(operation, &parameters, body)))
                    h3 { "Answers" }
                    @for (status, response) in content["responses"].as_object().into_iter().flatten().filter(|(_, response)| response["$ref"].is_null()) {
                        (self.answer(status, response))
                    }
                    p.hint { "Beside these, " a href="#start" { "the common answers" } "." }
                }
            }
        }
    }

    fn parameter(&self, parameter: &Value) -> Markup {
        let schema = &parameter["schema"];
        html! {
            li {
                (self.field_head(text(&parameter["name"]), schema, parameter["required"] == true))
                @if let Some(description) = parameter["description"].as_str() { (prose(description)) } @else { (self.about(schema)) }
                (self.limits(schema))
            }
        }
    }

    fn answer(&self, status: &str, response: &Value) -> Markup {
        let schema = response["content"].as_object().and_then(|media| media.values().next()).map(|media| &media["schema"]);
        html! {
            details.answer open[status.starts_with('2')] {
                summary { span class={ "status s" (status.get(..1).unwrap_or_default()) } { (status) } " " (text(&response["description"])) }
                @for (name, header) in response["headers"].as_object().into_iter().flatten() {
                    p.hint { code { (name) } ": " (inline(text(&header["description"]))) }
                }
                @if let Some(schema) = schema {
                    p { span.type { (self.type_of(schema)) } }
                    (code(&pretty(&self.example(schema, 0))))
                }
            }
        }
    }

    /// The members of an object, or of the objects in an array; a line for anything else. Objects with a
    /// name are unfolded at the top only: below they are links.
    fn fields(&self, schema: &Value, depth: usize) -> Markup {
        if depth > DEPTH_MAX || (depth > 0 && schema["$ref"].is_string()) {
            return html! { p.hint { "See " (self.type_of(schema)) "." } };
        }
        let schema = self.resolve(schema);
        if let Some(ways) = alternatives(schema) {
            let ways: Vec<_> = ways.iter().filter(|way| way["type"] != "null").collect();
            return match ways.as_slice() {
                [only] => self.fields(only, depth),
                ways => html! {
                    @for way in ways {
                        div.way { p { "One way: " (self.type_of(way)) } (self.about(way)) @if !self.is_simple(way) { (self.fields(way, depth + 1)) } }
                    }
                },
            };
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return html! { @for part in parts { (self.fields(part, depth + 1)) } };
        }
        if schema["items"].is_object() && !is_plain(self.resolve(&schema["items"])) {
            return self.fields(&schema["items"], depth + 1);
        }
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let Some(members) = schema["properties"].as_object() else {
            return html! { @if depth == 0 { p { span.type { (self.type_of(schema)) } } (self.limits(schema)) } };
        };
        html! {
            ul.fields { @for (name, member) in members {
                li {
                    (self.field_head(name, member, required.contains(&name.as_str())))
                    (self.about(member))
                    (self.limits(member))
                    @if !self.is_simple(member) {
                        details.inner { summary { "Members of " code { (name) } } (self.fields(member, depth + 1)) }
                    }
                }
            } }
        }
    }

    /// The objects that have a name, each once.
    fn objects(&self) -> Markup {
        let schemas = self.document["components"]["schemas"].as_object().into_iter().flatten();
        html! {
            section.chapter aria-labelledby="objects" {
                h2 #objects { "Objects" }
                p { "What requests and answers are made of." }
                @for (name, schema) in schemas.filter(|(_, schema)| !is_plain(schema)) {
                    details.operation #(object_id(name)) data-operation=(name.to_lowercase()) {
                        summary { span.what { span.title { (name) } } }
                        div.detail { (self.about(schema)) (self.fields(schema, 0)) }
                    }
                }
            }
        }
    }

    fn field_head(&self, name: &str, schema: &Value, required: bool) -> Markup {
        html! {
            p.head {
                code.name { (name) }
                span.type { (self.type_of(schema)) }
                @if required { span.required { "required" } }
                @if schema["deprecated"] == true { span.deprecated { "deprecated" } }
            }
        }
    }

    fn about(&self, schema: &Value) -> Markup {
        let own = schema["description"].as_str().or_else(|| self.resolve(schema)["description"].as_str());
        html! { @if let Some(description) = own { (prose(description)) } }
    }

    /// What may be sent, as far as the schema says.
    fn limits(&self, schema: &Value) -> Markup {
        let schema = self.resolve(schema);
        let schema = alternatives(schema).and_then(|ways| ways.iter().find(|way| way["type"] != "null")).map_or(schema, |way| self.resolve(way));
        let range = |min: &str, max: &str, unit: &str| match (schema.get(min), schema.get(max)) {
            (Some(min), Some(max)) => Some(format!("{min} to {max}{unit}")),
            (Some(min), None) => Some(format!("at least {min}{unit}")),
            (None, Some(max)) => Some(format!("at most {max}{unit}")),
            (None, None) => None,
        };
        let ranges = [range("minimum", "maximum", ""), range("minLength", "maxLength", " characters"), range("minItems", "maxItems", " items")];
        let words: Vec<_> = ranges.into_iter().flatten().collect();
        let one_of: Vec<_> = schema["enum"].as_array().into_iter().flatten().map(plain_text).collect();
        html! {
            @if !one_of.is_empty() { p.values { @for value in &one_of { code { (value) } " " } } }
            @if !words.is_empty() || !schema["default"].is_null() {
                p.hint { (words.join(", ")) @if !schema["default"].is_null() { " default " code { (plain_text(&schema["default"])) } } }
            }
        }
    }

    /// Nothing to unfold: plain, or a link.
    fn is_simple(&self, schema: &Value) -> bool {
        if schema["$ref"].is_string() {
            return true;
        }
        if let Some(ways) = alternatives(schema).or_else(|| schema["allOf"].as_array()) {
            return ways.iter().all(|way| self.is_simple(way));
        }
        let items = &schema["items"];
        schema["properties"].as_object().is_none_or(Map::is_empty) && (items.is_null() || self.is_simple(items))
    }

    /// The type in words; objects that have a name are links to it.
    fn type_of(&self, schema: &Value) -> Markup {
        if let Some(ways) = alternatives(schema) {
            let nullable = ways.iter().any(|way| way["type"] == "null");
            let ways = ways.iter().filter(|way| way["type"] != "null");
            return html! { @for (i, way) in ways.enumerate() { @if i > 0 { " or " } (self.type_of(way)) } @if nullable { " or null" } };
        }
        if let Some(name) = reference_name(schema) {
            let target = self.resolve(schema);
            return if is_plain(target) {
                self.type_of(target)
            } else {
                html! { a href={ "#" (object_id(name)) } { (name) } }
            };
        }
        let one = |kind: &str| match (kind, schema["format"].as_str()) {
            ("array", _) => html! { "array of " (self.type_of(&schema["items"])) },
            ("string", Some(format)) => html! { (format.replace('-', " ")) },
            ("string", None) if schema["enum"].is_array() => html! { "one of" },
            ("string", None) => html! { "text" },
            (kind, _) => html! { (kind) },
        };
        match &schema["type"] {
            Value::String(kind) => one(kind),
            Value::Array(kinds) => html! { @for (i, kind) in kinds.iter().filter_map(Value::as_str).enumerate() { @if i > 0 { " or " } (one(kind)) } },
            _ => html! { "any JSON" },
        }
    }

    /// An example of what the schema describes, from its own examples where there are any.
    fn example(&self, schema: &Value, depth: usize) -> Value {
        if let Some(example) = schema.get("example").or_else(|| schema["examples"].get(0)).or_else(|| schema.get("default")).or_else(|| schema.get("const")) {
            return example.clone();
        }
        if depth > DEPTH_MAX + 2 {
            return Value::Null;
        }
        if schema["$ref"].is_string() {
            return self.example(self.resolve(schema), depth + 1);
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        if let Some(ways) = alternatives(schema) {
            return ways.iter().find(|way| way["type"] != "null").map_or(Value::Null, |way| self.example(way, depth));
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let members = parts.iter().filter_map(|part| match self.example(part, depth) {
                Value::Object(members) => Some(members),
                _ => None,
            });
            return Value::Object(members.flatten().collect());
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"].as_array()?.iter().filter_map(Value::as_str).find(|kind| *kind != "null"));
        match kind {
            Some("object") => {
                schema["properties"].as_object().into_iter().flatten().map(|(name, member)| (name.clone(), self.example(member, depth + 1))).collect()
            }
            Some("array") => json!([self.example(&schema["items"], depth + 1)]),
            Some("integer") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("number") => json!(1.5),
            Some("boolean") => json!(true),
            Some("string") => json!(match schema["format"].as_str() {
                Some("date-time") => "2026-11-20T13:45:00.000Z",
                Some("email") => "ada@example.com",
                Some("uri") => "https://example.com",
                _ => "text",
            }),
            _ => Value::Null,
        }
    }

    fn curl(&self, operation: &Operation<'_>, parameters: &[&Value], body: &Value) -> String {
        let mut path = operation.path.to_owned();
        let mut query = Vec::new();
        for parameter in parameters {
            let name = text(&parameter["name"]);
            let example = || plain_text(&self.example(parameter.get("example").map_or(&parameter["schema"], |_| parameter), 0));
            match text(&parameter["in"]) {
                "path" => path = path.replace(&format!("{{{name}}}"), &example()),
                "query" if parameter["required"] == true => query.push(format!("{name}={}", example())),
                _ => {}
            }
        }
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let method = if operation.method == "get" { String::new() } else { format!("-X {} ", operation.method.to_uppercase()) };
        let mut command = format!("curl {method}\"{}{path}{query}\"", self.server());
        let is_public = operation.content["security"].as_array().is_some_and(|ways| ways.iter().all(|way| *way == json!({})));
        if !is_public {
            command.push_str(" \\\n  -H \"Authorization: Bearer $GOODWORD_KEY\"");
        }
        if let Some(media) = body["content"]["application/json"].as_object() {
            let example = media.get("example").cloned().unwrap_or_else(|| self.required_example(&media["schema"]));
            command.push_str(&format!(" \\\n  --json '{}'", pretty(&example).replace('\'', "'\\''")));
        }
        command
    }

    /// An example of the members that must be there; of all where none must.
    fn required_example(&self, schema: &Value) -> Value {
        let resolved = self.resolve(schema);
        let mut example = self.example(resolved, 0);
        if let (Some(members), Some(required)) = (example.as_object_mut(), resolved["required"].as_array())
            && resolved.get("example").is_none()
            && resolved.get("examples").is_none()
        {
            members.retain(|name, _| required.iter().any(|required| required == name));
        }
        example
    }
}

/// oneOf and anyOf.
fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())
}

/// A component that is a text or a number, so that its name would tell less than its type.
fn is_plain(schema: &Value) -> bool {
    ["string", "integer", "number", "boolean"].iter().any(|kind| schema["type"] == *kind)
}

fn reference_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn object_id(name: &str) -> String {
    format!("object-{name}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn slug(text: &str) -> String {
    let slug: String = text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    slug.trim_matches('-').to_owned()
}

fn title_case(name: &str) -> String {
    let words = name.replace(['-', '_'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn method_badge(method: &str) -> Markup {
    html! { span class={ "method " (method) } { (method.to_uppercase()) } }
}

/// Long paths may break after a slash.
fn breakable(path: &str) -> Markup {
    html! { @for (i, part) in path.split('/').enumerate() { @if i > 0 { "/" wbr; } (part) } }
}

fn code(text: &str) -> Markup {
    html! { div.code { pre tabindex="0" { code { (text) } } } }
}

/// The Markdown of doc comments, as far as we use it: paragraphs, lists, `code`, **strong**.
fn prose(markdown: &str) -> Markup {
    let blocks = markdown.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    html! {
        @for block in blocks {
            @if block.lines().all(|line| line.trim_start().starts_with(['-', '*']) || line.starts_with(' ')) {
                ul.prose { @for item in block.lines().map(|line| line.trim_start().trim_start_matches(['-', '*']).trim()) { li { (inline(item)) } } }
            } @else {
                p { (inline(block)) }
            }
        }
    }
}

fn inline(text: &str) -> Markup {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            out.push_str(&html! { code { (part) } }.into_string());
        } else {
            for (j, part) in part.split("**").enumerate() {
                out.push_str(
                    &if j % 2 == 1 {
                        html! { strong { (part) } }
                    } else {
                        html! { (part) }
                    }
                    .into_string(),
                );
            }
        }
    }
    PreEscaped(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_comments_become_safe_html() {
        let html = prose("One `a<b>` and **two**.\n\n- x\n- y").into_string();
        assert_eq!(html, "<p>One <code>a&lt;b&gt;</code> and <strong>two</strong>.</p><ul class=\"prose\"><li>x</li><li>y</li></ul>");
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let document = json!({
            "info": {"title": "T", "version": "1", "description": "d"}, "servers": [{"url": "http://h"}],
            "paths": {"/v1/trees/{id}": {"post": {"operationId": "grow", "summary": "Grows a tree.", "tags": ["trees"],
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string", "examples": ["tree_1"]}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}},
                "responses": {"200": {"description": "Grown.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}}}}},
            "components": {"schemas": {"Tree": {"type": "object", "required": ["height"], "properties": {
                "height": {"type": "integer", "minimum": 0, "description": "In <metres>."},
                "kind": {"oneOf": [{"type": "null"}, {"type": "string", "enum": ["oak", "elm"]}]},
                "branches": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}}}}
        });
        let html = page(&document).into_string();
        let expected =
            ["id=\"grow\"", "In &lt;metres&gt;.", "http://h/v1/trees/tree_1", "<code>oak</code>", "array of <a href=\"#object-Tree\">Tree</a>", "required"];
        for expected in expected {
            assert!(html.contains(expected), "{expected}\n{html}");
        }
        assert!(!html.contains("<script>"), "no inline script: the policy forbids it");
    }
}
