//! A store in memory that fails when it is told to, and remembers what was there when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};
use tokio::time::Instant;

/// What it does to what is put into it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It says that it cannot.
    Error,
    /// It says nothing.
    Never,
    /// It takes the first byte and says that it has all.
    Torn,
}

#[derive(Clone)]
pub(crate) struct FaultyStore {
    objects: Arc<InMemory>,
    start: Instant,
    state: Arc<Mutex<State>>,
}

/// The text of a playlist, and the names of all that was there when it was put.
type Put = (String, BTreeSet<String>);

#[derive(Default)]
struct State {
    fault: Option<(Answer, Range<Duration>)>,
    failed: usize,
    puts: usize,
    parts: usize,
    history: BTreeMap<String, Vec<Put>>,
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self { objects: Arc::default(), start: Instant::now(), state: Arc::default() }
    }
}

impl FaultyStore {
    /// Fails like this, in this time from now on.
    pub(crate) fn fail(&self, answer: Answer, during: Range<Duration>) {
        let now = self.start.elapsed();
        self.state.lock().unwrap().fault = Some((answer, now + during.start..now + during.end));
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Calls that failed.
    pub(crate) fn failed(&self) -> usize {
        self.state.lock().unwrap().failed
    }

    /// Objects put there.
    pub(crate) fn puts(&self) -> usize {
        self.state.lock().unwrap().puts
    }

    /// Parts of objects put there.
    pub(crate) fn parts(&self) -> usize {
        self.state.lock().unwrap().parts
    }

    /// Everything that is there.
    pub(crate) async fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for name in self.names().await {
            let got = self.objects.get(&Path::from(name.as_str())).await.unwrap();
            found.insert(name, got.bytes().await.unwrap().to_vec());
        }
        found
    }

    /// Puts something there that is not of the server.
    pub(crate) async fn put_text(&self, name: &str, text: &'static str) {
        self.objects.put(&Path::from(name), text.into()).await.unwrap();
    }

    async fn names(&self) -> BTreeSet<String> {
        let all: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        all.into_iter().map(|meta| meta.location.to_string()).collect()
    }

    /// All versions of a playlist.
    pub(crate) fn history(&self, name: &str) -> Vec<Put> {
        self.state.lock().unwrap().history.get(name).cloned().unwrap_or_default()
    }

    fn fault(&self) -> Option<Answer> {
        let mut state = self.state.lock().unwrap();
        let fault = state.fault.clone().filter(|(_, when)| when.contains(&self.start.elapsed()));
        state.failed += usize::from(fault.is_some());
        fault.map(|(answer, _)| answer)
    }

    /// Whether what it is asked to do is to be torn.
    async fn obey(&self) -> Result<bool> {
        match self.fault() {
            None => Ok(false),
            Some(Answer::Torn) => Ok(true),
            Some(Answer::Never) => std::future::pending().await,
            Some(Answer::Error) => {
                Err(Error::Generic { store: "faulty", source: "as the test wants it".into() })
            }
        }
    }
}

fn torn(payload: PutPayload) -> PutPayload {
    let first = payload.iter().find(|bytes| !bytes.is_empty()).map(|bytes| bytes.slice(..1));
    first.into_iter().collect()
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store that fails")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store that fails")
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let payload = if self.obey().await? { torn(payload) } else { payload };
        let text = location.as_ref().ends_with(".m3u8").then(|| {
            let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
            String::from_utf8(bytes).unwrap()
        });
        let put = self.objects.put_opts(location, payload, options).await?;
        let names = self.names().await;
        let mut state = self.state.lock().unwrap();
        state.puts += 1;
        if let Some(text) = text {
            state.history.entry(location.to_string()).or_default().push((text, names));
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.obey().await?;
        let upload = self.objects.put_multipart_opts(location, options).await?;
        self.state.lock().unwrap().puts += 1;
        Ok(Box::new(FaultyUpload { store: self.clone(), upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

struct FaultyUpload {
    store: FaultyStore,
    upload: Box<dyn MultipartUpload>,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an upload that fails")
    }
}

#[async_trait::async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        self.store.state.lock().unwrap().parts += 1;
        let part = self.upload.put_part(payload);
        let store = self.store.clone();
        Box::pin(async move {
            store.obey().await?;
            part.await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.obey().await?;
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
