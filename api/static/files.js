// Files of structures that were chosen or dropped, one by one or as folders, in the order of their names:
// [{ path, content }]. The images of a VASP path are 00/POSCAR to 08/POSCAR.

const inOrder = new Intl.Collator("en", { numeric: true }); // image 2 before image 10
const OF_STRUCTURES = /^(POSCAR|CONTCAR)$|\.(extxyz|xyz|cif|vasp|poscar|contcar)$/i;

// What to read: every file that was named itself; of a folder, the files of structures.
function ordered(files) {
  const found = files.filter(({ path }) => !path.includes("/") || OF_STRUCTURES.test(nameOf(path)));
  const relaxed = new Set(found.filter(({ path, content }) => path.endsWith("/CONTCAR") && content.size)
    .map(({ path }) => path.replace(/CONTCAR$/, "POSCAR")));
  return found
    .filter(({ path, content }) => !relaxed.has(path) && (content.size || !path.endsWith("/CONTCAR")))
    .sort((a, b) => inOrder.compare(a.path, b.path));
}

export const nameOf = (path) => path.split("/").pop();

export const chosenFiles = (list) =>
  ordered([...list].map((file) => ({ path: file.webkitRelativePath || file.name, content: file })));

// To be called while the event is handled: the browser forgets the entries afterwards.
export function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  return Promise.all(entries.map(filesOf)).then((found) => ordered(found.flat()));
}

async function filesOf(entry) {
  const path = entry.fullPath.slice(1);
  if (entry.isFile) return [{ path, content: await new Promise((...ends) => { entry.file(...ends); }) }];
  const reader = entry.createReader(), found = [];
  for (;;) { // a part of the folder at a time
    const part = await new Promise((...ends) => { reader.readEntries(...ends); });
    if (!part.length) return found;
    found.push(...(await Promise.all(part.map(filesOf))).flat());
  }
}
