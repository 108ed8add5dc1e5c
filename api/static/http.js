// Requests to the service; a failed one throws a Problem with the server's reasons. A key, when the service wants
// one, goes with each and is forgotten with the tab.

const KEY = "api-key";
export const key = () => sessionStorage.getItem(KEY) || "";
export const setKey = (value) => sessionStorage.setItem(KEY, value);

export class Problem extends Error {
  constructor(detail, errors = [], status = 0) {
    super(detail);
    this.errors = errors;
    this.status = status; // 0: there was no answer
  }
}

async function send(path, options = {}) {
  let response;
  const headers = { ...options.headers, ...(key() ? { "X-API-Key": key() } : {}) };
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Problem("The server does not answer.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) dispatchEvent(new Event("key-needed"));
  const wait = response.headers.get("Retry-After");
  const again = wait ? ` Try again in ${wait} s.` : "";
  throw new Problem((body.detail || `The server answered ${response.status}.`) + again, body.errors || [], response.status);
}

const answer = async (path, options) => (await send(path, options)).json();

export const get = (path) => answer(path);

export const getText = async (path) => (await send(path)).text();

export const getBlob = async (path) => (await send(path)).blob();

export const post = (path, body) =>
  answer(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });

export const remove = (path) => answer(path, { method: "DELETE" });

export const postFile = (path, name, content) => postForm(path, name, content, {});

export function postForm(path, name, content, fields) {
  const form = new FormData();
  form.append("file", new Blob([content]), name);
  for (const [field, value] of Object.entries(fields)) if (value) form.append(field, value);
  return answer(path, { method: "POST", body: form });
}
