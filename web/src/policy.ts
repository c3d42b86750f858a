/** The page's security policy, in one place: the page's meta tag and the service worker's headers both say this. */

const DIRECTIVES: Record<string, string> = {
  "default-src": "'none'",
  "script-src": "'self' 'wasm-unsafe-eval'",
  "worker-src": "'self'",
  "style-src": "'self'",
  "img-src": "'self'",
  "connect-src": "'self'", // its own files; no picture is ever in a request
  "manifest-src": "'self'",
  "form-action": "'none'",
  "base-uri": "'none'",
};

export const CONTENT_POLICY = Object.entries(DIRECTIVES)
  .map(([name, sources]) => `${name} ${sources}`)
  .join("; ");

/** Headers for what the service worker serves: threads need isolation, and workers take their policy from a header. */
export const HEADERS: Record<string, string> = {
  "Content-Security-Policy": `${CONTENT_POLICY}; frame-ancestors 'none'`,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
};
