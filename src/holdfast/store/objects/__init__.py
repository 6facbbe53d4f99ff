"""Images in a bucket of an object store, through obstore (the extra `s3`): S3, Google's, Azure's."""
