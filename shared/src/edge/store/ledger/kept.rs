//! Kept pictures: while a run makes them, in the log, and when they are erased.

use super::super::keeper::{Keeper, KeptRun, file_name};
use super::super::pictures::Pictures;
use super::{Admission, Ledger};
use crate::auth::Principal;
use crate::edge::clock::unix_ms;
use crate::edge::http::is_valid_id;
use crate::image_url::LocalLinks;
use crate::kept_picture::{KeptPicture, SignedLink};
use crate::outcome::Success;
use crate::picture_key::PictureKey;
use crate::problem::Code;
use crate::task::{Replay, TaskRecord, TaskState};

impl Ledger {
    /// Whether the pictures of a run are kept. A caller without a user could neither list nor erase them, and a task
    /// without a record could not find them again.
    pub fn keeps_pictures(&self, admission: &Admission) -> bool {
        self.pictures.is_some() && admission.is_recorded && !matches!(admission.principal, Principal::Source(_))
    }

    /// Keeps the pictures of a run; `None` where they are not kept. `links`: see [`Pictures::copies`].
    pub(crate) fn keeper(&self, admission: &Admission, links: LocalLinks) -> Option<Keeper> {
        let pictures = self.pictures.clone().filter(|_| self.keeps_pictures(admission))?;
        let (tasks, run) = (self.tasks.clone(), admission.run.clone());
        let file_name = download_name(&run.task_id, &run.id).to_owned();
        Some(Keeper::new(KeptRun { pictures, tasks, run, file_name, links }, admission.deadline))
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
        if record.pictures.is_empty() && record.result.is_none() {
            return Ok(Some(()));
        }
        for picture in &record.pictures {
            let pictures = self.pictures.as_ref().ok_or(Code::ServiceUnavailable)?;
            let key = PictureKey::new(&owner, &record.run, picture.slot);
            pictures.delete(&key).await.map_err(|_| Code::ServiceUnavailable)?;
        }
        match self.tasks.forget_pictures(&owner, &record, unix_ms()).await? {
            true => Ok(Some(())),
            // It failed, and the same key has been sent again meanwhile.
            false => Err(Code::TaskInProgress),
        }
    }

    /// The kept pictures of a record that are still in the bucket, each with a link; `None` for one that has expired.
    ///
    /// # Errors
    /// 503 if there are no credentials to sign with.
    pub async fn links(
        &self,
        principal: &Principal,
        record: &TaskRecord,
    ) -> Result<Vec<(KeptPicture, Option<SignedLink>)>, Code> {
        let Some(pictures) = &self.pictures else { return Ok(Vec::new()) };
        let mut linked = Vec::new();
        for picture in &record.pictures {
            let link = match picture.expires_ms > unix_ms() {
                true => Some(sign(pictures, &principal.to_string(), &record.task_id, &record.run, picture).await?),
                false => None,
            };
            linked.push((picture.clone(), link));
        }
        Ok(linked)
    }

    /// A result with links to its kept pictures. Without a bucket, only the upstream's links are delivered again.
    pub(super) async fn with_links(&self, owner: &str, task_id: &str, replay: Replay) -> Result<Success, Code> {
        let Replay { mut success, kept, run } = replay;
        let Some(pictures) = &self.pictures else {
            success.images.retain(|image| image.link().is_some());
            return if success.images.is_empty() { Err(Code::TaskAlreadyCompleted) } else { Ok(success) };
        };
        for picture in &kept {
            let link = sign(pictures, owner, task_id, &run, picture).await?;
            if let Some(image) = success.images.iter_mut().find(|image| image.slot == picture.slot) {
                image.kept = Some(link);
            }
        }
        Ok(success)
    }
}

async fn sign(
    pictures: &Pictures,
    owner: &str,
    task_id: &str,
    run: &str,
    picture: &KeptPicture,
) -> Result<SignedLink, Code> {
    let key = PictureKey::new(owner, run, picture.slot);
    let name = file_name(download_name(task_id, run), picture);
    pictures.sign(&key, &name).await.map_err(|_| Code::ServiceUnavailable)
}

/// The name of a picture's file: the task's id, unless that may be any text.
fn download_name<'a>(task_id: &'a str, run: &'a str) -> &'a str {
    if is_valid_id(task_id) { task_id } else { run }
}
