use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client::hash;

/// The objects of a bucket, in memory or in the files of a folder. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Objects(Arc<ObjectsState>);

#[derive(Debug, Default)]
struct ObjectsState {
    folder: Option<PathBuf>,
    all: Mutex<HashMap<String, Object>>,
}

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) head: ObjectHead,
    content: ObjectContent,
}

/// What is known of an object beside its bytes. In a file it is the first line, as JSON; the bytes follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ObjectHead {
    pub(super) key: String,
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    /// In base64, as in `x-amz-checksum-sha256`.
    pub(super) sha256: String,
    pub(super) stored: SystemTime,
}

#[derive(Clone, Debug)]
enum ObjectContent {
    Memory(Bytes),
    File { path: PathBuf, offset: usize },
}

impl Objects {
    /// The objects in the files of a folder, which is created if it is missing. For one engine at a time.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn in_folder(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut all = HashMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            // The files of a put that was interrupted have another ending.
            if path.extension().is_some_and(|extension| extension == "object") {
                let object = Object::read(&path)?;
                all.insert(object.head.key.clone(), object);
            }
        }
        Ok(Self(Arc::new(ObjectsState { folder: Some(folder), all: Mutex::new(all) })))
    }

    /// The keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.all().keys().cloned().collect();
        keys.sort();
        keys
    }

    /// The bytes of an object; `None` if there is none, or if its file cannot be read.
    pub fn content(&self, key: &str) -> Option<Bytes> {
        self.get(key)?.bytes().ok()
    }

    /// Deletes the objects that were stored `keep_for` ago or earlier. Returns how many.
    pub fn sweep(&self, keep_for: Duration) -> usize {
        #[expect(clippy::disallowed_methods, reason = "a real bucket has its own clock")]
        let now = SystemTime::now();
        let is_due = |object: &Object| now.duration_since(object.head.stored).is_ok_and(|age| age >= keep_for);
        let due: Vec<_> =
            self.all().values().filter(|object| is_due(object)).map(|object| object.head.key.clone()).collect();
        due.iter().filter(|key| self.remove(key).is_ok()).count()
    }

    pub(super) fn get(&self, key: &str) -> Option<Object> {
        self.all().get(key).cloned()
    }

    /// Stores an object, or replaces it. It is visible, and in its file, as a whole or not at all.
    pub(super) fn insert(&self, head: ObjectHead, bytes: Bytes) -> io::Result<()> {
        let Some(folder) = &self.0.folder else {
            self.all().insert(head.key.clone(), Object { head, content: ObjectContent::Memory(bytes) });
            return Ok(());
        };
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        let unfinished = folder.join(format!("{}.new", Uuid::new_v4()));
        let mut file = File::create_new(&unfinished)?;
        file.write_all(&line)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        let path = folder.join(format!("{}.object", hash(head.key.as_bytes())));
        let mut all = self.all();
        fs::rename(unfinished, &path)?;
        all.insert(head.key.clone(), Object { head, content: ObjectContent::File { path, offset: line.len() } });
        Ok(())
    }

    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        let mut all = self.all();
        if let Some(Object { content: ObjectContent::File { path, .. }, .. }) = all.get(key) {
            fs::remove_file(path)?;
        }
        all.remove(key);
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Object>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Object {
    pub(super) fn bytes(&self) -> io::Result<Bytes> {
        match &self.content {
            ObjectContent::Memory(bytes) => Ok(bytes.clone()),
            ObjectContent::File { path, offset } => Ok(Bytes::from(fs::read(path)?).split_off(*offset)),
        }
    }

    fn read(path: &Path) -> io::Result<Self> {
        let file = fs::read(path)?;
        let end = file.iter().position(|byte| *byte == b'\n').ok_or(io::ErrorKind::InvalidData)?;
        let head = serde_json::from_slice(file.get(..end).unwrap_or_default())?;
        Ok(Self { head, content: ObjectContent::File { path: path.to_owned(), offset: end + 1 } })
    }
}
