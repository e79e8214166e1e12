//! The embedded project service: projects in memory, behind three methods on a UW server. It knows nothing of HTTP; the
//! gateway reaches it as it would reach one elsewhere.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use plimsoll_tokio::{Ctx, HandlerError, Server};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reply::now_rfc3339;

/// Projects kept at most.
const MAX_PROJECTS: usize = 10_000;
const MAX_NAME: usize = 200;
const MAX_DESCRIPTION: usize = 4_000;
/// Projects in one answer at most, so that no answer comes near the limit of the wire.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 50;

/// Why a method failed: a word for machines, a sentence for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// The params break a rule of the service.
pub(crate) const VALIDATION_FAILED: &str = "VALIDATION_FAILED";
/// No project has this id.
pub(crate) const NOT_FOUND: &str = "NOT_FOUND";
/// The store is full.
pub(crate) const LIMIT_REACHED: &str = "LIMIT_REACHED";

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Project {
    id: String,
    #[serde(flatten)]
    draft: Draft,
    created_at: String,
    updated_at: String,
}

/// What a client may say about a project.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct ListParams {
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Page {
    projects: Vec<Project>,
    /// What `after` must be for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct CreateParams {
    project: Draft,
}

#[derive(Deserialize)]
struct UpdateParams {
    id: String,
    project: Draft,
}

#[derive(Default)]
struct Store {
    projects: BTreeMap<u64, Project>,
    last_id: u64,
}

/// Serves the methods on a port of this machine that the system chooses.
pub(crate) async fn serve() -> io::Result<Server> {
    let (list, create, update) = {
        let projects = Arc::new(Projects::new());
        (projects.clone(), projects.clone(), projects)
    };
    Server::builder()
        .method("listProjects", move |params, _: Ctx| ready(answer(list.list(params))))
        .method("createProject", move |params, _: Ctx| ready(answer(create.create(params))))
        .method("updateProject", move |params, _: Ctx| ready(answer(update.update(params))))
        .bind("127.0.0.1:0")
        .await
}

fn answer<T>(result: Result<T, Failure>) -> Result<T, HandlerError> {
    result.map_err(|Failure { code, message }| HandlerError::new(code, message))
}

/// The service's state. It begins with one project, so that a newcomer has something to read and to change.
pub(crate) struct Projects(Mutex<Store>);

impl Projects {
    pub(crate) fn new() -> Projects {
        let mut store = Store::default();
        store.create(Draft { name: "Example".into(), description: "Change me with PUT.".into() });
        Projects(Mutex::new(store))
    }

    /// `listProjects {limit?, after?}`: up to `limit` projects in the order of their creation, from behind `after`.
    pub(crate) fn list(&self, params: Value) -> Result<Page, Failure> {
        let params: ListParams = parse(params)?;
        let limit = params.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(invalid(format!("limit must lie between 1 and {MAX_PAGE}")));
        }
        let after = match params.after {
            None => 0,
            Some(id) => id.parse().map_err(|_| invalid("after must be the id of a project".into()))?,
        };
        let store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut behind =
            store.projects.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, project)| project);
        let projects: Vec<Project> = behind.by_ref().take(limit).cloned().collect();
        let next = behind.next().and(projects.last()).map(|last| last.id.clone());
        Ok(Page { projects, next })
    }

    /// `createProject {project: {name, description?}}`: the project with its id.
    pub(crate) fn create(&self, params: Value) -> Result<Project, Failure> {
        let CreateParams { project } = parse(params)?;
        check(&project)?;
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if store.projects.len() >= MAX_PROJECTS {
            let message = format!("{MAX_PROJECTS} projects are kept at most");
            return Err(Failure { code: LIMIT_REACHED, message });
        }
        Ok(store.create(project))
    }

    /// `updateProject {id, project: {name, description?}}`: replaces what a client may say about the project.
    pub(crate) fn update(&self, params: Value) -> Result<Project, Failure> {
        let UpdateParams { id, project: draft } = parse(params)?;
        check(&draft)?;
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let project = id.parse().ok().and_then(|number: u64| store.projects.get_mut(&number));
        let Some(project) = project.filter(|project| project.id == id) else {
            return Err(Failure { code: NOT_FOUND, message: format!("no project has the id `{id}`") });
        };
        project.draft = draft;
        project.updated_at = now_rfc3339();
        Ok(project.clone())
    }
}

impl Store {
    fn create(&mut self, draft: Draft) -> Project {
        self.last_id += 1;
        let now = now_rfc3339();
        let project =
            Project { id: self.last_id.to_string(), draft, created_at: now.clone(), updated_at: now };
        self.projects.insert(self.last_id, project.clone());
        project
    }
}

fn parse<T: for<'de> Deserialize<'de>>(params: Value) -> Result<T, Failure> {
    serde_json::from_value(params).map_err(|error| invalid(error.to_string()))
}

fn check(draft: &Draft) -> Result<(), Failure> {
    if draft.name.trim().is_empty() {
        return Err(invalid("name must not be empty".into()));
    }
    if draft.name.len() > MAX_NAME {
        return Err(invalid(format!("name must have at most {MAX_NAME} bytes")));
    }
    if draft.description.len() > MAX_DESCRIPTION {
        return Err(invalid(format!("description must have at most {MAX_DESCRIPTION} bytes")));
    }
    Ok(())
}

fn invalid(message: String) -> Failure {
    Failure { code: VALIDATION_FAILED, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code<T>(result: Result<T, Failure>) -> &'static str {
        result.err().unwrap().code
    }

    fn value(result: Result<impl Serialize, Failure>) -> Value {
        serde_json::to_value(result.ok().unwrap()).unwrap()
    }

    #[test]
    fn a_project_is_created_listed_and_replaced() {
        let service = Projects::new();
        let made = value(service.create(json!({"project": {"name": "Harbour"}})));
        assert_eq!(
            (&made["id"], &made["name"], &made["description"]),
            (&json!("2"), &json!("Harbour"), &json!(""))
        );
        let changed = value(service.update(json!({"id": "2", "project": {"name": "Quay"}})));
        assert_eq!((&changed["name"], &changed["createdAt"]), (&json!("Quay"), &made["createdAt"]));
        let listed = value(service.list(json!({})));
        assert_eq!(listed["projects"][1], changed);
        assert_eq!(listed.get("next"), None);
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_overlap() {
        let service = Projects::new();
        for n in 0..6 {
            value(service.create(json!({"project": {"name": n.to_string()}})));
        }
        let (mut ids, mut params) = (Vec::new(), json!({"limit": 3}));
        loop {
            let page = value(service.list(params));
            ids.extend(
                page["projects"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_string()),
            );
            match page.get("next") {
                Some(next) => params = json!({"limit": 3, "after": next}),
                None => break,
            }
        }
        assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7"]);
    }

    #[test]
    fn params_that_break_a_rule_are_refused_with_a_code() {
        let service = Projects::new();
        for project in [
            json!({}),
            json!({"name": " "}),
            json!({"name": 1}),
            json!({"name": "x".repeat(MAX_NAME + 1)}),
            json!({"name": "x", "description": "x".repeat(MAX_DESCRIPTION + 1)}),
            json!({"name": "x", "owner": "y"}),
        ] {
            assert_eq!(code(service.create(json!({ "project": project }))), VALIDATION_FAILED, "{project}");
        }
        for list in [json!({"limit": 0}), json!({"limit": 101}), json!({"after": "x"}), json!([])] {
            assert_eq!(code(service.list(list)), VALIDATION_FAILED);
        }
        for id in ["9", "01", "x", ""] {
            assert_eq!(code(service.update(json!({"id": id, "project": {"name": "x"}}))), NOT_FOUND, "{id}");
        }
    }

    #[test]
    fn a_full_store_says_so() {
        let service = Projects::new();
        for _ in 1..MAX_PROJECTS {
            value(service.create(json!({"project": {"name": "x"}})));
        }
        assert_eq!(code(service.create(json!({"project": {"name": "x"}}))), LIMIT_REACHED);
    }
}
