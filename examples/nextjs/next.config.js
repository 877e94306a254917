// Each function has a host of its own on AWS. The local stack serves all paths.
const local = 'http://127.0.0.1:8787';
const {
  GENERATE_STREAM_URL = `${local}/api/generate-stream`,
  GENERATE_IMAGE_URL = `${local}/api/generate-image`,
  FACEFLIP_STREAM_URL = `${local}/api/v1/faceflip/generate/stream`,
  GENERATIONS_URL = `${local}/api/generations`,
} = process.env;

/** @type {import('next').NextConfig} */
module.exports = {
  // The page calls its own host, so there is no CORS. Next.js reads the variables when it builds.
  rewrites: async () => [
    { source: '/api/generate-stream', destination: GENERATE_STREAM_URL },
    { source: '/api/generate-image', destination: GENERATE_IMAGE_URL },
    { source: '/api/v1/faceflip/generate/stream', destination: FACEFLIP_STREAM_URL },
    { source: '/api/generations', destination: GENERATIONS_URL },
    { source: '/api/generations/:path+', destination: `${GENERATIONS_URL}/:path+` },
  ],
  // The longest silence of a rewrite. Streams are silent for 10 s at most; /api/generate-image is until its end.
  experimental: { proxyTimeout: 660_000 },
};
