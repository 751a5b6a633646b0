//! The way of a request through the server, each check in the order of the
//! real one: who asks, may he, is it served, is it understood, does it fit.

use std::sync::Arc;

use http::{header, request::Parts};
use serde_json::{Value, json};

use super::{
    Api, ApiState,
    accept::Form,
    answer::{self, Answer, Content},
    crd::{self, GROUP, KIND, PLURAL},
    discovery,
    options::Options,
    patch::Patch,
    rbac::Role,
    request_info::{RequestInfo, Resource},
    store::{Key, api_version},
    update::{self, Change, Update},
    watch::{self, Selection},
};

pub fn answer(api: &Api, role: Role, head: &Parts, body: &[u8]) -> Answer {
    let info = RequestInfo::new(&head.method, &head.uri);
    Call { api, role, head, info, body }.answer().unwrap_or_else(|refusal| refusal)
}

struct Call<'a> {
    api: &'a Api,
    role: Role,
    head: &'a Parts,
    info: RequestInfo,
    body: &'a [u8],
}

impl Call<'_> {
    fn answer(&self) -> Result<Answer, Answer> {
        self.authenticate()?;
        self.role.authorize(&self.info)?;
        let Some(resource) = &self.info.resource else {
            return self.api.with(|state| discovery::answer(state.crd.as_ref(), &self.info.path));
        };
        match (resource.group.as_str(), resource.plural.as_str(), self.info.verb) {
            (GROUP, PLURAL, _) => self.custom_resource(resource),
            ("apiextensions.k8s.io", "customresourcedefinitions", "get") => self.definition(resource),
            ("authorization.k8s.io", "selfsubjectaccessreviews", "create") => self.self_subject_access_review(),
            _ => Err(answer::page_not_found()),
        }
    }

    fn authenticate(&self) -> Result<(), Answer> {
        let Some(token) = self.api.with(|state| state.token.clone()) else { return Ok(()) };
        let known = self.header(&header::AUTHORIZATION) == Some(&format!("Bearer {token}"));
        if known { Ok(()) } else { Err(answer::unauthorized()) }
    }

    fn custom_resource(&self, resource: &Resource) -> Result<Answer, Answer> {
        let version = self.api.with(|state| state.served(&resource.version)).ok_or_else(answer::page_not_found)?;
        let answer = match (self.info.verb, &resource.name, resource.subresource.as_deref()) {
            ("list", _, None) => self.list(resource),
            ("watch", _, None) => Ok(self.watch(resource)),
            (verb, Some(name), None) => match verb {
                "get" => self.get(resource, name, &version),
                _ => Err(not_doubled(verb)),
            },
            (verb, Some(name), Some("status")) if version.pointer("/subresources/status").is_some() => match verb {
                "get" => self.get(resource, name, &version),
                "patch" | "update" => self.update_status(resource, name, &version),
                _ => Err(answer::method_not_allowed(verb)),
            },
            (_, Some(name), Some(_)) => Err(answer::not_found(GROUP, PLURAL, name)),
            (verb, ..) => Err(not_doubled(verb)),
        };
        // Who uses a version that is on its way out hears it with every answer.
        let warn = |answer: Answer| match version["deprecationWarning"].as_str() {
            Some(warning) => answer.with_header("warning", format!("299 - {warning:?}")),
            None => answer,
        };
        answer.map(warn).map_err(warn)
    }

    fn get(&self, resource: &Resource, name: &str, version: &Value) -> Result<Answer, Answer> {
        let form = self.form()?;
        self.api.with(|state| {
            let object = state.store.get(&key(resource, name)).ok_or_else(|| answer::not_found(GROUP, PLURAL, name))?;
            self.show(state, object, form, version)
        })
    }

    fn list(&self, resource: &Resource) -> Result<Answer, Answer> {
        if self.form()? != Form::Whole {
            return Err(answer::not_acceptable());
        }
        self.api.with(|state| {
            Ok(Answer::json(
                200,
                json!({
                    "apiVersion": api_version(&resource.version),
                    "kind": format!("{KIND}List"),
                    "metadata": {"continue": "", "resourceVersion": state.store.version().to_string()},
                    "items": Selection::new(resource).of(&state.store),
                }),
            ))
        })
    }

    fn watch(&self, resource: &Resource) -> Answer {
        let lines = watch::lines(self.api, resource, &self.info);
        Answer { code: 200, headers: Vec::new(), content: Content::Events(lines) }
    }

    fn update_status(&self, resource: &Resource, name: &str, version: &Value) -> Result<Answer, Answer> {
        let content_type = self.content_type();
        let patch = match self.info.verb {
            "patch" => Some(Patch::new(content_type, self.body)?),
            _ if content_type == answer::MEDIA_TYPES[0] => None,
            _ => return Err(answer::unsupported_media_type(&answer::MEDIA_TYPES)),
        };
        let form = self.form()?;
        let manager = self.manager();
        self.api.with(|state| {
            if self.body.len() > state.limits.body {
                return Err(answer::too_large(&format!("limit is {}", state.limits.body)));
            }
            let Options { dry_run, validation } = Options::new(&self.info)?;
            let api_version = api_version(&resource.version);
            let change = match patch {
                Some(patch) => Change::Patch(patch),
                None => Change::Put(update::decode(self.body, &api_version)?),
            };
            let update = Update {
                key: key(resource, name),
                api_version,
                schema: version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default(),
                change,
                validation,
                manager,
                dry_run,
            };
            let (object, unknown) = update.run(state)?;
            let answer = self.show(state, &object, form, version)?;
            Ok(unknown.iter().fold(answer, |answer, field| {
                let field = format!("unknown field {field:?}");
                answer.with_header("warning", format!("299 - {field:?}"))
            }))
        })
    }

    /// The object as the version and the form asked for show it.
    fn show(&self, state: &ApiState, object: &Arc<Value>, form: Form, version: &Value) -> Result<Answer, Answer> {
        let mut object = Value::clone(object);
        object["apiVersion"] = json!(api_version(version["name"].as_str().unwrap_or_default()));
        Ok(Answer::json(200, form.of(object, version, &self.info, state.store.now())?))
    }

    fn definition(&self, resource: &Resource) -> Result<Answer, Answer> {
        let wanted = resource.name.clone().unwrap_or_default();
        let definition = self.api.with(|state| state.crd.clone()).filter(|_| wanted == crd::name());
        match definition {
            Some(definition) => Ok(Answer::json(200, definition)),
            None => Err(answer::not_found("apiextensions.k8s.io", "customresourcedefinitions", &wanted)),
        }
    }

    fn self_subject_access_review(&self) -> Result<Answer, Answer> {
        let mut review: Value =
            serde_json::from_slice(self.body).map_err(|error| answer::bad_request(error.to_string()))?;
        let asked = |name: &str| review["spec"]["resourceAttributes"][name].as_str().unwrap_or_default();
        let subresource = Some(asked("subresource")).filter(|subresource| !subresource.is_empty());
        let allowed = self.role.allows(asked("verb"), asked("group"), asked("resource"), subresource);
        review["status"] = json!({"allowed": allowed});
        Ok(Answer::json(201, review))
    }

    fn form(&self) -> Result<Form, Answer> {
        Form::negotiate(self.header(&header::ACCEPT))
    }

    fn content_type(&self) -> &str {
        let content_type = self.header(&header::CONTENT_TYPE).unwrap_or_default();
        content_type.split_once(';').map_or(content_type, |(media_type, _)| media_type).trim()
    }

    /// Who writes: as the request says it, or else the client's name.
    fn manager(&self) -> String {
        let client = self.header(&header::USER_AGENT).and_then(|agent| agent.split('/').next());
        self.info.query("fieldManager").or(client).unwrap_or("unknown").to_owned()
    }

    fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn key(resource: &Resource, name: &str) -> Key {
    (resource.namespace.clone().unwrap_or_default(), name.to_owned())
}

/// A request that a reporter never sends.
fn not_doubled(verb: &str) -> Answer {
    answer::failure(501, "", format!("the double does not {verb} here: use Api::create, edit and delete"), None)
}
