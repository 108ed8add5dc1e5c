// Requests to the service; a failed one throws a Problem with the server's reasons.

export class Problem extends Error {
  constructor(detail, errors = []) {
    super(detail);
    this.errors = errors;
  }
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Problem("The server does not answer.");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const wait = response.headers.get("Retry-After");
    const again = wait ? ` Try again in ${wait} s.` : "";
    throw new Problem((body.detail || `The server answered ${response.status}.`) + again, body.errors || []);
  }
  return body;
}

export const get = (path) => answer(fetch(path));

export const post = (path, body) =>
  answer(fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body ?? {}),
  }));

export const remove = (path) => answer(fetch(path, { method: "DELETE" }));

export const postFile = (path, name, content) => postForm(path, name, content, {});

export function postForm(path, name, content, fields) {
  const form = new FormData();
  form.append("file", new Blob([content]), name);
  for (const [key, value] of Object.entries(fields)) if (value) form.append(key, value);
  return answer(fetch(path, { method: "POST", body: form }));
}
