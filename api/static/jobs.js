// Jobs: upload a training set, start featurize, train or evaluate, and watch what happens.

import { byId, made } from "./elements.js";
import { get, getText, post, postForm, remove } from "./http.js";

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const SECONDS_BETWEEN_LOOKS = 1;
const SECONDS_AFTER_TROUBLE = 3;
const REFUSED = new Set([401, 403]); // another try would be answered in the same way
const shown = new Map(); // id of a job -> the job as it is shown, the oldest first
let following = false;

const pause = (seconds) => new Promise((resume) => { setTimeout(resume, 1000 * seconds); });

const say = (text) => { byId("jobs-status").textContent = text; };

async function attempt(action) {
  try {
    await action();
  } catch (problem) {
    const reasons = (problem.errors || []).slice(0, 3).map((e) => e.detail);
    say([problem.message, ...reasons].join(" "));
  }
}

const time = (text) => (text ? new Date(text).toLocaleTimeString() : "");

function result(job) {
  if (job.error) return job.error;
  if (!job.result) return "";
  if (job.type === "train") {
    return `model ${job.result.model}, ${job.result.rmse_mev_per_atom.toFixed(1)} meV/atom RMSE`;
  }
  if (job.type === "evaluate") {
    return `${job.result.averaged_model.rmse.toFixed(1)} meV/atom RMSE on ${job.result.n_structures} structures`;
  }
  return `${job.result.n_structures} structures × ${job.result.n_features} features`;
}

function drawJob(job) {
  const before = JSON.stringify(shown.get(job.id));
  shown.set(job.id, job);
  if (JSON.stringify(job) !== before) drawRow(job); // a button that is replaced in vain loses focus and click
  follow();
}

function drawRow(job) {
  const row = byId(`job-${job.id}`) || made("tr", undefined, { id: `job-${job.id}` });
  const bar = made("progress", undefined, { max: job.total || 1, "aria-label": `Progress of ${job.type}` });
  if (job.total) bar.value = job.done;
  else if (ENDED.has(job.state)) bar.value = 0;
  const progress = made("td");
  progress.append(bar, made("span", job.total ? ` ${job.done} of ${job.total} ${job.unit}` : ""));
  const actions = made("td");
  const button = (text, action) => {
    const found = made("button", text, { type: "button", class: "button light" });
    found.addEventListener("click", () => attempt(action));
    actions.append(found);
  };
  button("Log", async () => {
    byId("log-text").textContent = (await getText(`/v1/jobs/${job.id}/log`)) || "Nothing was printed yet.";
    byId("log").showModal();
  });
  if (!ENDED.has(job.state)) button("Cancel", async () => drawJob(await remove(`/v1/jobs/${job.id}`)));
  if (job.state === "failed" || job.state === "cancelled") {
    button("Resume", async () => drawJob(await post(`/v1/jobs/${job.id}/resume`)));
  }
  if (job.state === "succeeded" && job.type === "featurize") {
    button("Train", () => submit("train", { store: job.id }));
  }
  if (job.state === "succeeded" && job.type === "train") {
    button("Activate", async () => {
      await post(`/v1/models/${job.result.model}/activate`);
      say(`Model ${job.result.model} is active now.`);
    });
  }
  const cells = [made("td", job.type), made("td", job.state), progress, made("td", time(job.created))];
  row.replaceChildren(...cells, made("td", result(job)), actions);
  if (!row.isConnected) byId("job-rows").prepend(row);
}

const unfinished = () => [...shown.values()].filter((job) => !ENDED.has(job.state));

// Looks at all jobs until they have ended, with one short request after another. A stream of events for each would hold
// a connection, of which a browser makes six to a server for all its tabs: the seventh request would wait for ever.
async function follow() {
  if (following) return;
  following = true;
  while (unfinished().length) {
    await pause(SECONDS_BETWEEN_LOOKS);
    try {
      await look();
    } catch (problem) {
      say(problem.message);
      if (REFUSED.has(problem.status)) break;
      await pause(SECONDS_AFTER_TROUBLE); // the jobs go on
    }
  }
  following = false;
}

async function look() {
  const { jobs } = await get("/v1/jobs");
  for (const job of jobs.reverse()) drawJob(job);
  const listed = new Set(jobs.map((job) => job.id));
  const [oldest] = unfinished().filter((job) => !listed.has(job.id));
  if (oldest) await lookAt(oldest.id); // the list has the newest jobs only; the others run one after the other
}

async function lookAt(id) {
  try {
    drawJob(await get(`/v1/jobs/${id}`));
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    shown.delete(id);
    say(`Job ${id} is not watched any more: ${problem.message}`);
  }
}

async function submit(type, parameters) {
  drawJob(await post("/v1/jobs", { type, parameters }));
  say(`Accepted: ${type}.`);
}

async function upload() {
  const file = byId("dataset-file").files[0];
  if (!file) {
    say("Choose a file first: extended XYZ with energies.");
    return;
  }
  say("Reading the file …");
  const fields = { path_key: byId("path-key").value.trim() };
  const found = await postForm("/v1/datasets", file.name, file, fields);
  await drawDatasets(found.id);
  say(`${found.n_structures} structures of ${found.n_paths} paths (${found.elements.join(", ")}).`);
}

async function drawDatasets(chosen) {
  const { datasets } = await get("/v1/datasets");
  byId("datasets").replaceChildren(...datasets.map((d) =>
    made("option", `${d.n_structures} structures, ${d.n_paths} paths, ${d.elements.join("-")}`, { value: d.id })));
  if (chosen) byId("datasets").value = chosen;
  for (const id of ["featurize", "evaluate"]) byId(id).disabled = !datasets.length;
}

export async function openJobs() {
  await attempt(async () => {
    await drawDatasets();
    const { jobs } = await get("/v1/jobs");
    for (const job of jobs.reverse()) drawJob(job);
  });
}

export function startJobs() {
  byId("upload").addEventListener("click", () => attempt(upload));
  for (const type of ["featurize", "evaluate"]) {
    byId(type).addEventListener("click", () => attempt(() => submit(type, { dataset: byId("datasets").value })));
  }
}
