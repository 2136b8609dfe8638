//! Store: finished recordings and whole segments, kept where this machine may be lost.
//!
//! A store may be slow, or gone for hours. Nothing here waits for it but the tasks that copy: what
//! they are short of stays on the disk, or is a gap in the store's playlist.

mod board;
mod recordings;
mod segments;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
};

pub(super) use self::board::{Board, Counts};
pub(super) use self::recordings::Recordings;
pub(super) use self::segments::{clear, keep_up};

/// Why a URL is none of a store.
#[derive(Debug, thiserror::Error)]
#[error("store.url = \"{url}\": {message}")]
pub struct StoreError {
    url: String,
    message: String,
}

/// Where objects are put.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Whether it keeps types and how long something may be cached.
    has_attributes: bool,
}

/// What an object is to those who fetch it.
#[derive(Clone, Copy)]
struct Label {
    content_type: &'static str,
    cache_control: &'static str,
}

const RECORDING: Label = Label { content_type: "video/x-flv", cache_control: "max-age=31536000" };
const MEDIA: Label = Label { content_type: "video/mp4", cache_control: "max-age=31536000" };
/// As long as it takes until the next one is there, at least.
const PLAYLIST: Label =
    Label { content_type: "application/vnd.apple.mpegurl", cache_control: "max-age=1" };

impl Store {
    /// Any store, with everything in it below `prefix`.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, prefix: Path::from(prefix), has_attributes: true }
    }

    /// The store at a URL: `file:///a/directory`, `memory:///` or, in a build with the feature `s3`,
    /// `s3://bucket/prefix` with what else there is to know in `variables` like `AWS_ENDPOINT`.
    ///
    /// # Errors
    ///
    /// If the URL means nothing, or what it means cannot be used.
    pub fn open(url: &str, variables: &BTreeMap<String, String>) -> Result<Self, StoreError> {
        let error = |message: String| StoreError { url: url.to_owned(), message };
        let (scheme, path) = url.split_once("://").unwrap_or((url, ""));
        match scheme {
            "file" if path.starts_with('/') => {
                let made = std::fs::create_dir_all(path);
                made.map_err(|cause| error(format!("cannot make the directory: {cause}")))?;
                let files = LocalFileSystem::new_with_prefix(path);
                let files = files.map_err(|cause| error(cause.to_string()))?;
                // A recording is removed elsewhere once it is here.
                let objects = Arc::new(files.with_fsync(true));
                Ok(Self { has_attributes: false, ..Self::new(objects, "") })
            }
            "memory" => Ok(Self::new(Arc::new(InMemory::new()), path)),
            "s3" => Self::open_s3(url, variables).map_err(error),
            _ => Err(error("it is none of a store that there is".to_owned())),
        }
    }

    #[cfg(feature = "s3")]
    fn open_s3(url: &str, variables: &BTreeMap<String, String>) -> Result<Self, String> {
        use object_store::RetryConfig;
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
        // The one that relays use; somebody else's choice for the process is as good.
        let _chosen_already =
            tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let known = |(name, value): (&String, &String)| {
            let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().ok()?;
            name.starts_with("AWS_").then(|| (key, value.clone()))
        };
        // We try again ourselves, and say so.
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let plain = AmazonS3Builder::new().with_url(url).with_retry(once);
        let builder = variables
            .iter()
            .filter_map(known)
            .fold(plain, |builder, (key, value)| builder.with_config(key, value));
        let bucket = builder.build().map_err(|error| error.to_string())?;
        let path = url.split_once("://").map_or("", |(_, rest)| rest);
        let prefix = path.split_once('/').map_or("", |(_, prefix)| prefix);
        Ok(Self::new(Arc::new(bucket), prefix))
    }

    #[cfg(not(feature = "s3"))]
    fn open_s3(_url: &str, _variables: &BTreeMap<String, String>) -> Result<Self, String> {
        Err("this build has no S3, which takes --features s3".to_owned())
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, word| path.join(word))
    }

    fn attributes(&self, label: Label) -> Attributes {
        let mut attributes = Attributes::new();
        if self.has_attributes {
            attributes.insert(Attribute::ContentType, label.content_type.into());
            attributes.insert(Attribute::CacheControl, label.cache_control.into());
        }
        attributes
    }

    async fn put(&self, name: &str, label: Label, bytes: Vec<Bytes>) -> object_store::Result<()> {
        let payload = PutPayload::from_iter(bytes);
        let options = PutOptions { attributes: self.attributes(label), ..PutOptions::default() };
        self.objects.put_opts(&self.path(name), payload, options).await?;
        Ok(())
    }

    /// Begins an object that is put there in parts.
    async fn put_parts(
        &self,
        name: &str,
        label: Label,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        let attributes = self.attributes(label);
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        self.objects.put_multipart_opts(&self.path(name), options).await
    }

    /// How large an object is; `None`: there is none.
    async fn size(&self, name: &str) -> object_store::Result<Option<u64>> {
        match self.objects.head(&self.path(name)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, name: &str) -> object_store::Result<()> {
        match self.objects.delete(&self.path(name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => removed,
        }
    }
}

/// What the store says, or that it says nothing.
async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(timeout, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}
