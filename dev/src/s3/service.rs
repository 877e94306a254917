use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use futures_util::StreamExt;
use s3s::dto::{
    CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, PutObjectInput, PutObjectOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sha2::{Digest, Sha256};

use super::BUCKET;
use super::objects::{Object, ObjectHead, Objects};

/// Larger objects than any picture. S3 accepts 5 GB.
const MAX_BYTES: usize = 64 << 20;

#[async_trait::async_trait]
impl S3 for Objects {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        check_bucket(&request.input.bucket)?;
        Err(s3_error!(BucketAlreadyOwnedByYou))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let (mut body, mut bytes) = (input.body.ok_or_else(|| s3_error!(IncompleteBody))?, BytesMut::new());
        while let Some(piece) = body.next().await {
            // The body is not the one that was signed, or it was cut; then the connection is closed and no client receives this answer.
            bytes.extend_from_slice(&piece.map_err(|_| payload_mismatch())?);
            if bytes.len() > MAX_BYTES {
                return Err(s3_error!(EntityTooLarge));
            }
        }
        let bytes = bytes.freeze();
        let sha256 = STANDARD.encode(Sha256::digest(&bytes));
        if input.checksum_sha256.is_some_and(|checksum| checksum != sha256) {
            return Err(s3_error!(BadDigest));
        }
        let head = ObjectHead {
            key: input.key,
            content_type: input.content_type,
            cache_control: input.cache_control,
            sha256: sha256.clone(),
            #[expect(clippy::disallowed_methods, reason = "a real bucket has its own clock")]
            stored: std::time::SystemTime::now(),
        };
        let (objects, e_tag) = (self.clone(), head.e_tag());
        let insert = move || objects.insert(head, bytes);
        tokio::task::spawn_blocking(insert).await.map_err(S3Error::internal_error)?.map_err(S3Error::internal_error)?;
        let output = PutObjectOutput { e_tag: Some(e_tag), checksum_sha256: Some(sha256), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let object = self.find(&input.bucket, &input.key)?;
        let head = object.head.clone();
        let e_tag = head.e_tag();
        if let Some(ETagCondition::ETag(known)) = &input.if_none_match
            && known.value() == e_tag.value()
        {
            return Err(s3_error!(NotModified));
        }
        let read = move || -> io::Result<_> { object.bytes() };
        let read = tokio::task::spawn_blocking(read).await.map_err(S3Error::internal_error)?;
        let bytes = read.map_err(S3Error::internal_error)?;
        let (bytes, content_range) = match input.range {
            None => (bytes, None),
            Some(range) => {
                let whole = bytes.len();
                let range = range.check(whole as u64)?;
                let content_range = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
                (bytes.slice(range.start as usize..range.end as usize), Some(content_range))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: i64::try_from(bytes.len()).ok(),
            body: Some(s3s::Body::from(bytes).into()),
            content_range,
            e_tag: Some(e_tag),
            content_type: head.content_type,
            cache_control: head.cache_control,
            checksum_sha256: Some(head.sha256),
            last_modified: Some(head.stored.into()),
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.find(&request.input.bucket, &request.input.key)?;
        let bytes = object.bytes().map_err(S3Error::internal_error)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(bytes.len()).ok(),
            e_tag: Some(object.head.e_tag()),
            content_type: object.head.content_type,
            cache_control: object.head.cache_control,
            checksum_sha256: Some(object.head.sha256),
            last_modified: Some(object.head.stored.into()),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        self.remove(&request.input.key).map_err(S3Error::internal_error)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }
}

impl Objects {
    fn find(&self, bucket: &str, key: &str) -> S3Result<Object> {
        check_bucket(bucket)?;
        self.get(key).ok_or_else(|| s3_error!(NoSuchKey))
    }
}

impl ObjectHead {
    /// S3's is the MD5 of the bytes; clients must not depend on that.
    fn e_tag(&self) -> ETag {
        ETag::Strong(self.sha256.clone())
    }
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

fn payload_mismatch() -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
    error.set_status_code(axum::http::StatusCode::BAD_REQUEST);
    error
}
