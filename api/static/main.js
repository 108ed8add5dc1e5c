// The page: one structure or many in, energies with uncertainties out. Each part of the page is drawn by one
// function from what the service answered; nothing is computed here.

import { lineChart } from "./chart.js";
import { byId, made } from "./elements.js";
import { chosenFiles, droppedFiles, nameOf } from "./files.js";
import { get, getBlob, key, post, postFile, setKey } from "./http.js";
import { openJobs, startJobs } from "./jobs.js";
import { colourOf, show } from "./viewer.js";

const EXAMPLES = {
  "LiSi, amorphous": "one-structure.extxyz",
  "Migration path": "migration-path.extxyz",
  "Three concentrations": "concentrations.extxyz",
};
const STEPS = 5; // strains on each side of zero
const state = { structures: [], predictions: [], frame: 0, model: null, turn: 0, strainTurn: 0, modelTurn: 0 };

// Text

function formula(structure) {
  const counts = new Map();
  for (const symbol of structure.species_at_sites) counts.set(symbol, (counts.get(symbol) || 0) + 1);
  return [...counts].sort().map(([symbol, n]) => symbol + (n > 1 ? n : "")).join("");
}

const milli = (value) => (1000 * value).toFixed(1);
const score = (value) => (value >= 1000 ? value.toExponential(1) : value.toFixed(2));

function definitions(list, rows) {
  list.replaceChildren(...rows.flatMap(([term, value, style]) => [
    made("dt", term), made("dd", value, style ? { class: style } : {}),
  ]));
}

function complain(problem) {
  const box = byId("problem");
  box.hidden = false;
  box.replaceChildren(made("strong", problem.message));
  if (problem.errors?.length) {
    const list = made("ul");
    for (const { pointer, index, detail } of problem.errors.slice(0, 10)) {
      const place = index === undefined || index === null ? pointer : `structure ${index + 1}`;
      list.append(made("li", place ? `${place}: ${detail}` : detail));
    }
    if (problem.errors.length > 10) list.append(made("li", `and ${problem.errors.length - 10} more`));
    box.append(list);
  }
  byId("status").textContent = "";
}

// Predictions

// files: [{ path, content }], in the order of the series; a content may still be on its way.
async function predictFiles(files) {
  const turn = ++state.turn, status = byId("status");
  const title = files.length > 1 ? `${files.length} files` : nameOf(files[0].path);
  byId("problem").hidden = true;
  status.textContent = "Reading…";
  try {
    const began = performance.now();
    const structures = await fromEach(files, "/v1/structures/file", "structures");
    if (turn !== state.turn) return; // another file came in the meantime
    status.textContent = `Predicting ${structures.length} structure${structures.length > 1 ? "s" : ""}…`;
    // The files again: as JSON, what was read of a large one is more than a request may hold.
    const predictions = await fromEach(files, "/v1/predictions/file", "predictions");
    if (turn !== state.turn) return;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    status.textContent = `${title}: ${structures.length} predicted in ${seconds} s.`;
    Object.assign(state, { structures, predictions, frame: 0 });
    drawResults();
    await drawSeries(turn);
  } catch (problem) {
    if (turn === state.turn) complain(problem);
  }
}

// What the service answers for each file under a name, all in one list.
async function fromEach(files, route, name) {
  const found = [];
  for (const { path, content } of files) {
    try {
      found.push(...(await postFile(route, nameOf(path), await content))[name]);
    } catch (problem) {
      if (files.length > 1) problem.message = `${path}: ${problem.message}`;
      throw problem;
    }
  }
  return found;
}

function takeFiles(files) {
  if (files.length) predictFiles(files);
  else complain({ message: "There is no file of structures: POSCAR, CONTCAR, .vasp, .extxyz, .xyz or .cif." });
}

function drawResults() {
  byId("results").hidden = false;
  const n = state.structures.length;
  byId("frames").hidden = n === 1;
  byId("frame").max = n - 1;
  byId("frame").value = 0;
  byId("strain-chart").replaceChildren();
  byId("strain-status").textContent = "";
  byId("run-strain").disabled = false;
  state.strainTurn++; // a curve on its way is of another structure
  drawFrame();
}

function drawFrame() {
  const structure = state.structures[state.frame], prediction = state.predictions[state.frame];
  byId("formula").textContent = formula(structure);
  byId("frame-of").textContent =
    state.structures.length > 1 ? `${state.frame + 1} of ${state.structures.length}` : "";
  const legend = [...new Set(structure.species_at_sites)].map((symbol) => {
    const entry = made("span");
    const dot = made("i");
    dot.style.background = colourOf(symbol);
    entry.append(dot, symbol);
    return entry;
  });
  byId("legend").replaceChildren(...legend);
  show(byId("viewer"), structure);
  drawNumbers(prediction);
}

function drawNumbers(p) {
  const rows = [
    ["Energy", `${p.energy.toFixed(3)} eV`, "large"],
    ["per atom", `${p.energy_per_atom.toFixed(4)} ± ${p.uncertainty.toFixed(4)} eV/atom`],
  ];
  if (p.formation_energy_per_atom !== null) {
    rows.push(["Formation energy", `${milli(p.formation_energy_per_atom)} meV/atom`]);
  }
  rows.push(["Uncertainty", `${milli(p.uncertainty)} meV/atom`]);
  rows.push(["Extrapolation score", score(p.extrapolation_score)], ["Atoms", String(p.n_atoms)]);
  definitions(byId("numbers"), rows);
  drawBand(p);
  const verdict = byId("verdict");
  verdict.className = `verdict ${p.extrapolating ? "outside" : "inside"}`;
  verdict.textContent = p.extrapolating
    ? "Extrapolating: unlike the training data. The error may exceed the uncertainty."
    : "Like the training data.";
}

// Energy per atom as a line in its band of one and of two standard deviations.
function drawBand(p) {
  const values = [-2, -1, 0, 1, 2].map((k) => (p.energy_per_atom + k * p.uncertainty).toFixed(3));
  const band = byId("band");
  band.replaceChildren(made("div", undefined, { class: "two" }), made("div", undefined, { class: "one" }),
    made("div", undefined, { class: "mean" }));
  band.setAttribute("role", "img");
  band.setAttribute("aria-label", `Energy per atom between ${values[1]} and ${values[3]} eV, one standard deviation`);
  byId("band-scale").replaceChildren(...values.map((value) => made("span", value)));
}

// Several structures

const sameAtoms = (structures) => new Set(structures.map(formula)).size === 1;

async function drawSeries(turn) {
  const { structures, predictions } = state;
  byId("series").hidden = structures.length < 2;
  byId("strain").hidden = structures.length > 1;
  if (structures.length < 2) return;
  drawTable();
  let points, titles, note = "";
  if (sameAtoms(structures)) {
    note = await barrierOf(structures);
    if (turn !== state.turn) return;
    byId("series-title").textContent = "Energy along the frames";
    const relative = predictions.map((p) => p.energy - predictions[0].energy);
    points = relative.map((y, i) => point(i + 1, y, 0, i, `${y.toFixed(3)} eV`));
    titles = { x: "frame", y: "energy − first (eV)", name: "Energy along the frames" };
  } else {
    byId("series-title").textContent = "Formation energy of each structure";
    const known = predictions.every((p) => p.formation_energy_per_atom !== null);
    const quantity = known ? "formation_energy_per_atom" : "energy_per_atom";
    points = predictions.map((p, i) =>
      point(i + 1, p[quantity], p.uncertainty, i, `${formula(structures[i])}: ${p[quantity].toFixed(3)} eV/atom`));
    titles = { x: "structure", y: `${known ? "formation energy" : "energy"} (eV/atom)`, name: "Energy of each structure" };
    note = "Band: one standard deviation over the models.";
  }
  byId("series-note").textContent = note;
  byId("series-chart").replaceChildren(lineChart(points, titles));
}

async function barrierOf(structures) {
  try {
    const found = await post("/v1/properties/migration-barrier", { structures });
    return `Highest minus lowest energy: ${found.barrier.toFixed(3)} ± ${found.barrier_spread.toFixed(3)} eV; ` +
      (found.warning ?? "for the images of a migration path this is the barrier.");
  } catch (problem) {
    return `No barrier: ${problem.message}`; // the energies are known all the same
  }
}

const point = (x, y, spread, i, label) =>
  ({ x, y, spread, outside: state.predictions[i].extrapolating, label: `${x}: ${label}` });

const COLUMNS = [
  ["structure", (p, s, i) => i + 1],
  ["formula", (p, s) => formula(s)],
  ["energy (eV)", (p) => p.energy.toFixed(4)],
  ["energy per atom (eV/atom)", (p) => p.energy_per_atom.toFixed(5)],
  ["formation energy (eV/atom)", (p) => p.formation_energy_per_atom?.toFixed(5) ?? ""],
  ["uncertainty (eV/atom)", (p) => p.uncertainty.toFixed(5)],
  ["extrapolation score", (p) => score(p.extrapolation_score)],
  ["extrapolating", (p) => (p.extrapolating ? "yes" : "no")],
];

const rowsOfTable = () =>
  state.predictions.map((p, i) => COLUMNS.map(([, value]) => String(value(p, state.structures[i], i))));

function drawTable() {
  const row = (cells, name) => {
    const line = made("tr");
    line.append(...cells.map((cell) => made(name, cell, name === "th" ? { scope: "col" } : {})));
    return line;
  };
  const head = made("thead"), body = made("tbody");
  head.append(row(COLUMNS.map(([title]) => title), "th"));
  body.append(...rowsOfTable().map((cells) => row(cells, "td")));
  byId("table").replaceChildren(head, body);
}

function downloadTable() {
  const lines = [COLUMNS.map(([title]) => title), ...rowsOfTable()].map((cells) => cells.join(","));
  const link = made("a", undefined, {
    href: URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" })),
    download: "predictions.csv",
  });
  link.click();
  URL.revokeObjectURL(link.href);
}

// Energy against volume

const largestStrain = () => Number(byId("range").value) / 100;

async function drawStrain() {
  const status = byId("strain-status"), turn = ++state.strainTurn;
  const strains = Array.from({ length: 2 * STEPS + 1 }, (_, i) => ((i - STEPS) / STEPS) * largestStrain());
  status.textContent = `Predicting ${strains.length} strained structures…`;
  byId("run-strain").disabled = true;
  try {
    const found = await post("/v1/properties/bulk-modulus",
      { structures: [state.structures[state.frame]], strains });
    if (turn !== state.strainTurn) return; // the slider, or another structure, asked for another curve
    const n = state.predictions[state.frame].n_atoms;
    const points = found.curve.map((p, i) => ({
      x: found.volumes[i] / n, y: p.energy / n, spread: p.uncertainty, outside: p.extrapolating,
      label: `${(100 * strains[i]).toFixed(1)} %: ${(p.energy / n).toFixed(4)} eV/atom`,
    }));
    byId("strain-chart").replaceChildren(lineChart(points,
      { x: "volume per atom (Å³)", y: "energy per atom (eV)", name: "Energy against volume" }));
    status.textContent = modulusText(found, n);
  } catch (problem) {
    if (turn === state.strainTurn) status.textContent = problem.message;
  } finally {
    if (turn === state.strainTurn) byId("run-strain").disabled = false;
  }
}

function modulusText(found, n) {
  const outside = found.curve.filter((p) => p.extrapolating).length;
  const warning = outside ? ` ${outside} of ${found.curve.length} strained structures are unlike the training data (open circles).` : "";
  if (found.bulk_modulus === null) return `No bulk modulus: ${found.reason}.${warning}`;
  const spread = found.bulk_modulus_spread === null ? "" : ` ± ${found.bulk_modulus_spread.toFixed(1)}`;
  return `Bulk modulus ${found.bulk_modulus.toFixed(1)}${spread} GPa, at ${(found.volume / n).toFixed(2)} Å³ per atom ` +
    `(Birch-Murnaghan; spread over the folds of the model).${warning}`;
}

// Models

async function drawModels() {
  const { active, models } = await get("/v1/models");
  byId("footer-model").textContent = active;
  byId("models").replaceChildren(...models.map((id) =>
    made("option", id === active ? `${id} (active)` : id, { value: id })));
  byId("models").value = active;
  await chooseModel(active);
}

// Until the service has answered, there is no card: that of another model would be taken for this one's.
async function chooseModel(id) {
  const turn = ++state.modelTurn, status = byId("model-status");
  status.textContent = "";
  byId("activate").hidden = true;
  for (const part of ["card", "reports"]) byId(part).replaceChildren();
  try {
    const model = await get(`/v1/models/${id}`);
    if (turn === state.modelTurn) drawModel(model); // else another one was chosen in the meantime
  } catch (problem) {
    if (turn === state.modelTurn) status.textContent = problem.message;
  }
}

function drawModel(model) {
  state.model = model.id;
  byId("activate").hidden = model.active;
  if (model.active) byId("elements").textContent = `The model knows ${model.species.join(" and ")}.`;
  const errors = model.training.errors;
  const rows = [
    ["Id", model.id], ["Elements", model.species.join(", ")],
    ["Models averaged", String(model.n_models)], ["Features", String(model.n_features)],
    ["Wavelets", `β = ${model.scattering.beta} Å, ${model.scattering.scales} scales, ${model.scattering.precision} precision`],
    ["Data hash", model.data_hash],
  ];
  if (errors) {
    rows.push(["Trained on", `${model.training.n_structures} structures in ${model.training.n_paths} relaxation paths`]);
    rows.push(["RMSE, held-out paths", `${milli(errors.rmse_mean)} ± ${milli(errors.rmse_std)} meV/atom`]);
    rows.push(["MAE, held-out paths", `${milli(errors.mae_mean)} ± ${milli(errors.mae_std)} meV/atom`]);
  }
  definitions(byId("card"), rows);
  const images = [["parity", "Parity"], ["learning_curves", "Learning curves"]].map(([name, title]) => {
    const card = made("div", undefined, { class: "card" });
    const image = made("img", undefined, { alt: title });
    getBlob(`/v1/models/${model.id}/report/${name}`).then(
      (blob) => { image.src = URL.createObjectURL(blob); },
      () => card.remove(), // training left no such plot
    );
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    card.append(made("h2", title), image);
    return card;
  });
  byId("reports").replaceChildren(...images);
}

async function activate() {
  const status = byId("model-status");
  try {
    await post(`/v1/models/${state.model}/activate`);
    await drawModels();
    status.textContent ||= "It is active now."; // if nothing is wrong with it
  } catch (problem) {
    status.textContent = problem.message;
  }
}

// The page itself

function openPage() {
  const wanted = ["#model", "#jobs"].includes(location.hash) ? location.hash.slice(1) : "predict";
  if (wanted === "jobs") openJobs();
  for (const page of document.querySelectorAll(".page")) page.hidden = page.id !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  if (state.structures.length) show(byId("viewer"), state.structures[state.frame]);
}

function askForKey() {
  byId("key-form").hidden = false;
}

function takeKey(event) {
  event.preventDefault();
  const given = byId("key").value.trim();
  setKey(given);
  byId("problem").hidden = true;
  openPage();
  // What the service says of an earlier key may come late.
  drawModels().catch((problem) => { if (key() === given) complain(problem); });
}

function takeDrops(card) {
  for (const kind of ["dragenter", "dragover"]) {
    card.addEventListener(kind, (event) => { event.preventDefault(); card.classList.add("over"); });
  }
  card.addEventListener("dragleave", () => card.classList.remove("over"));
  card.addEventListener("drop", (event) => {
    event.preventDefault();
    card.classList.remove("over");
    droppedFiles(event.dataTransfer).then(takeFiles).catch(complain);
  });
}

function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(localStorage.getItem("theme") || (dark ? "dark" : "light"));
  byId("theme").addEventListener("click", () => {
    const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", name);
    setTheme(name);
  });
  for (const [title, file] of Object.entries(EXAMPLES)) {
    const button = made("button", title, { type: "button", class: "button light" });
    button.addEventListener("click", () =>
      predictFiles([{ path: file, content: getBlob(`/static/examples/${file}`) }]));
    byId("examples").append(button);
  }
  takeDrops(byId("drop"));
  for (const id of ["file", "folder"]) {
    byId(id).addEventListener("change", ({ target }) => {
      takeFiles(chosenFiles(target.files));
      target.value = ""; // the same files can be chosen again
    });
  }
  byId("paste").addEventListener("click", () => predictFiles([{ path: "pasted", content: byId("text").value }]));
  byId("frame").addEventListener("input", ({ target }) => {
    state.frame = Number(target.value);
    drawFrame();
  });
  byId("csv").addEventListener("click", downloadTable);
  byId("range").addEventListener("input", () => {
    byId("range-value").textContent = `±${byId("range").value} %`;
  });
  byId("range").addEventListener("change", () => {
    if (byId("strain-chart").childElementCount) drawStrain(); // a curve that is shown follows the slider
  });
  byId("run-strain").addEventListener("click", drawStrain);
  byId("models").addEventListener("change", ({ target }) => chooseModel(target.value));
  byId("activate").addEventListener("click", activate);
  startJobs();
  addEventListener("key-needed", askForKey);
  byId("key-form").addEventListener("submit", takeKey);
  if (key()) askForKey(); // to be seen and exchanged
  byId("key").value = key();
  addEventListener("hashchange", openPage);
  openPage();
  drawModels().catch(complain);
}

start();
