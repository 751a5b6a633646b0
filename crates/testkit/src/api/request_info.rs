//! What a request is about, read from its line alone: the verb and the
//! resource that rights are given for.

use http::{Method, Uri};

pub struct RequestInfo {
    pub verb: &'static str,
    pub path: String,
    /// None: a path such as `/version`, which names no resource.
    pub resource: Option<Resource>,
    query: Vec<(String, String)>,
}

pub struct Resource {
    pub group: String,
    pub version: String,
    /// None: all namespaces, or a kind without.
    pub namespace: Option<String>,
    /// As it stands in the path: a plural.
    pub plural: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl RequestInfo {
    pub fn new(method: &Method, uri: &Uri) -> Self {
        let query: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let find = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let mut resource = Resource::parse(uri.path());
        let one = resource.as_ref().is_none_or(|resource| resource.name.is_some());
        let verb = match method.as_str() {
            "GET" if one => "get",
            "GET" if matches!(find("watch"), Some("1" | "true")) => "watch",
            "GET" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if one => "delete",
            "DELETE" => "deletecollection",
            _ => "options",
        };
        // A right to list or watch can be given for one name.
        if let (Some(resource), "list" | "watch") = (&mut resource, verb) {
            resource.name = find("fieldSelector").and_then(|by| by.strip_prefix("metadata.name=")).map(str::to_owned);
        }
        RequestInfo { verb, path: uri.path().to_owned(), resource, query }
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.queries(name).next()
    }

    /// All values of a parameter that can be there more than once.
    pub fn queries(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Resource {
    fn parse(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.trim_matches('/').split('/').collect();
        let ["apis", group, version, rest @ ..] = segments.as_slice() else { return None };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let owned = |index: usize| rest.get(index).map(|segment| (*segment).to_owned());
        Some(Resource {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            namespace,
            plural: owned(0)?,
            name: owned(1),
            subresource: owned(2),
        })
    }
}
