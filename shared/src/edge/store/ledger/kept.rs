//! Kept pictures: while a run makes them, in the log, and when they are erased.

use futures_util::future::join_all;

use super::super::keeper::{Keeper, KeptRun, file_name};
use super::super::pictures::Pictures;
use super::{Admission, Ledger};
use crate::auth::Principal;
use crate::edge::clock::unix_ms;
use crate::edge::http::is_valid_id;
use crate::image_url::LocalLinks;
use crate::kept_picture::{KeptPicture, SignedLink};
use crate::media::label::LabelRules;
use crate::outcome::Success;
use crate::picture_key::PictureKey;
use crate::problem::Code;
use crate::task::{Replay, TaskRecord, TaskState};

/// The slots of a request: ARK makes at most 15 pictures.
const MAX_SLOTS: u32 = 16;

impl Ledger {
    /// Whether the pictures of a run are kept. A caller without a user could neither list nor erase them, and a task
    /// without a record could not find them again.
    pub fn keeps_pictures(&self, admission: &Admission) -> bool {
        self.pictures.is_some() && admission.is_recorded && !matches!(admission.principal, Principal::Source(_))
    }

    /// Keeps the pictures of a run; `None` where they are not kept. `links`: see [`Pictures::copies`]. `label_rules`: what is
    /// written into copies of links, where pictures are labelled.
    pub(crate) fn keeper(
        &self,
        admission: &Admission,
        links: LocalLinks,
        label_rules: Option<&LabelRules>,
    ) -> Option<Keeper> {
        let pictures = self.pictures.clone().filter(|_| self.keeps_pictures(admission))?;
        let (tasks, run) = (self.tasks.clone(), admission.run.clone());
        let file_name = download_name(&run.task_id, &run.id).to_owned();
        Some(Keeper::new(
            KeptRun { pictures, tasks, run, file_name, links, label_rules: label_rules.cloned() },
            admission.deadline,
        ))
    }

    /// Erases the kept pictures of one of the caller's own tasks. Each object is deleted before the record forgets it, so
    /// that the record never hides an object. `None` if there is no such task.
    ///
    /// # Errors
    /// 409 while the task runs; 503 if the table or the bucket is unavailable.
    pub async fn erase_pictures(&self, principal: &Principal, task_id: &str) -> Result<Option<()>, Code> {
        let owner = principal.to_string();
        let Some(record) = self.tasks.get(&owner, task_id).await? else { return Ok(None) };
        if matches!(record.state_at(unix_ms()), TaskState::Running { .. }) {
            return Err(Code::TaskInProgress);
        }
        if record.images_made() == 0 {
            return Ok(Some(()));
        }
        match &self.pictures {
            Some(pictures) => {
                // Also a picture whose put was not confirmed, so that the record does not list it.
                let slots = (0..MAX_SLOTS).chain(record.pictures.iter().map(|picture| picture.slot));
                let keys: Vec<_> = slots.map(|slot| PictureKey::new(&owner, &record.run, slot)).collect();
                let deleted = join_all(keys.iter().map(|key| pictures.delete(key))).await;
                deleted.into_iter().collect::<Result<(), _>>().map_err(|_| Code::ServiceUnavailable)?;
            }
            None if record.pictures.is_empty() => {}
            None => return Err(Code::ServiceUnavailable),
        }
        match self.tasks.forget_pictures(&owner, &record, unix_ms()).await? {
            true => Ok(Some(())),
            // It failed, and the same key has been sent again meanwhile.
            false => Err(Code::TaskInProgress),
        }
    }

    /// The kept pictures of a record, each with a link; `None` for one that has expired, or if there are no credentials to
    /// sign with.
    pub async fn links(&self, principal: &Principal, record: &TaskRecord) -> Vec<(KeptPicture, Option<SignedLink>)> {
        let Some(pictures) = &self.pictures else { return Vec::new() };
        let mut linked = Vec::new();
        for picture in &record.pictures {
            let link = match picture.expires_ms > unix_ms() {
                true => sign(pictures, &principal.to_string(), &record.task_id, &record.run, picture).await,
                false => None,
            };
            linked.push((picture.clone(), link));
        }
        linked
    }

    /// A result with links to its kept pictures. Only pictures with a link are delivered again.
    pub(super) async fn with_links(&self, owner: &str, task_id: &str, replay: Replay) -> Result<Success, Code> {
        let Replay { mut success, kept, run } = replay;
        if let Some(pictures) = &self.pictures {
            for picture in &kept {
                if let Some(image) = success.images.iter_mut().find(|image| image.slot == picture.slot) {
                    image.kept = sign(pictures, owner, task_id, &run, picture).await;
                    image.label = picture.image.label;
                }
            }
        }
        success.images.retain(|image| image.link().is_some());
        match (success.images.is_empty(), &self.pictures) {
            (false, _) => Ok(success),
            (true, Some(_)) => Err(Code::ServiceUnavailable),
            (true, None) => Err(Code::TaskAlreadyCompleted),
        }
    }
}

/// `None` if there are no credentials, which is logged.
async fn sign(pictures: &Pictures, owner: &str, task_id: &str, run: &str, picture: &KeptPicture) -> Option<SignedLink> {
    let key = PictureKey::new(owner, run, picture.slot);
    let name = file_name(download_name(task_id, run), picture);
    pictures.sign(&key, &name).await.ok()
}

/// The name of a picture's file: the task's id, unless that may be any text.
fn download_name<'a>(task_id: &'a str, run: &'a str) -> &'a str {
    if is_valid_id(task_id) { task_id } else { run }
}
