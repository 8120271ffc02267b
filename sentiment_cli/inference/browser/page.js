"use strict";
// What both pages do with an answer: draw it while one types, and judge the rows of a file.
// A text is only ever put in the page as text: nothing here parses HTML.

const SHADES = 5;
const FIRST_MS = 150, THEN_MS = 450; // after the last key: the answer, then what each word does
const AT_ONCE = 32, SHOWN = 100, MOST_BYTES = 20_000_000;
const SVG = "http://www.w3.org/2000/svg";

function node(tag, attributes, ...children) {
  const isDrawing = ["svg", "polyline", "line", "rect", "circle", "text", "title"].includes(tag);
  const made = isDrawing ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const figure = (answer) => {
  if (answer.stars !== undefined) return `${answer.stars.toFixed(1)} stars`;
  return answer.labels?.length ? answer.labels.map((label) => percent(answer.probabilities[label])).join(", ") : percent(answer.probability);
};
// The label or, where a text may have several, all that it is given.
const labelOf = (answer) => (answer.labels === undefined ? answer.label : answer.labels.join(", ") || "(none)");
// What a terminal or an editor would obey is shown as an escape.
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;
const safe = (text) => text.replace(UNSAFE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

function drawVerdict(answer) {
  const parts = [node("p", { class: "verdict" }, node("strong", {}, safe(labelOf(answer))), node("span", {}, figure(answer)))];
  const notes = [];
  if (answer.low_evidence) notes.push("Low evidence: no word that the model knows.");
  if (answer.truncated) notes.push("The text is longer than what the model reads.");
  if (answer.unknown && !answer.low_evidence) notes.push(`${answer.unknown} of ${answer.tokens} tokens are unknown to the model.`);
  if (answer.probabilities) {
    const bars = node("div", { class: "bars" });
    for (const [label, share] of Object.entries(answer.probabilities)) {
      const bar = node("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
        node("rect", { width: (100 * share).toFixed(2), height: "4" }));
      bars.append(node("span", { dir: "auto" }, safe(label)), bar, node("span", {}, percent(share)));
    }
    parts.push(bars);
  }
  if (notes.length) parts.push(node("p", { class: "soft" }, notes.join(" ")));
  return parts;
}

// How far each word moves the answer: what the explanation says it adds, or else by how much the curve moved at it.
function wordsOf(answer) {
  if (answer.explanation) {
    return answer.explanation.words.map((word) => ({ ...word, added: word.contribution ?? word.weight }));
  }
  let before = answer.trace.length ? answer.before : 0;
  return answer.trace.map((step) => {
    const value = step.probability ?? step.stars, added = value - before;
    before = value;
    return { text: step.word, start: step.start, end: step.end, added, unknown: step.unknown, read: true };
  });
}

function drawText(text, answer, mark) {
  const characters = Array.from(text), words = wordsOf(answer);
  const strongest = Math.max(...words.map((word) => Math.abs(word.added)), 0) || 1;
  const shown = node("p", { class: "text", dir: "auto" });
  const steps = new Map((answer.trace || []).map((step, i) => [step.start, i + 1]));
  let cursor = 0;
  for (const word of words) {
    if (word.start > cursor) shown.append(safe(characters.slice(cursor, word.start).join("")));
    const level = Math.round((SHADES * word.added) / strongest);
    const names = level ? [`${level > 0 ? "more" : "less"}-${Math.abs(level)}`] : [];
    if (word.unknown) names.push("unknown");
    if (!word.read) names.push("unread");
    const span = node("span", { class: names.join(" "), title: `${word.added >= 0 ? "+" : ""}${word.added.toFixed(4)}` },
      safe(characters.slice(Math.max(cursor, word.start), word.end).join("")));
    if (steps.has(word.start)) {
      span.addEventListener("pointerenter", () => mark(steps.get(word.start), span));
      span.addEventListener("pointerleave", () => mark(null, span));
    }
    shown.append(span);
    cursor = Math.max(cursor, word.end);
  }
  shown.append(safe(characters.slice(cursor).join("")));
  return shown;
}

function drawCurve(answer) {
  const WIDTH = Math.min(720, Math.max(280, document.getElementById("answer").clientWidth)), HEIGHT = 130, LEFT = 34, isStars = answer.stars !== undefined;
  const [low, high, middle] = isStars ? [1, 10, 5.5] : [0, 1, Object.keys(answer.probabilities).length === 2 ? 0.5 : null];
  const values = answer.trace.map((step) => step.probability ?? step.stars);
  if (answer.before !== undefined) values.unshift(answer.before);
  const offset = answer.before !== undefined ? 0 : 1; // whether the curve begins before the first word
  const x = (i) => LEFT + ((WIDTH - LEFT) * i) / Math.max(1, values.length - 1);
  const y = (value) => HEIGHT * (1 - (value - low) / (high - low));
  const of = isStars ? "stars" : `probability of ${answer.label}`;
  const curve = node("svg", { viewBox: `-2 -8 ${WIDTH + 8} ${HEIGHT + 16}`, role: "img", "aria-label": `${of} after each word` });
  for (const value of [low, middle, high].filter((one) => one !== null)) {
    curve.append(node("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
      node("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, String(value)));
  }
  curve.append(node("polyline", { points: values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
  const dot = node("circle", { r: 5, cx: x(values.length - 1), cy: y(values.at(-1) ?? low) });
  curve.append(dot);
  const mark = (step, span) => {
    span.classList.toggle("at", step !== null);
    const i = step === null ? values.length - 1 : step - offset;
    dot.setAttribute("cx", x(i));
    dot.setAttribute("cy", y(values[i]));
  };
  return { curve, mark, of };
}

function drawReasons(text, answer) {
  const { curve, mark, of } = drawCurve(answer);
  const parts = [node("h2", {}, "Word by word"), drawText(text, answer, mark)];
  const what = answer.explanation ? safe(answer.explanation.of) : of;
  parts.push(node("p", { class: "soft" }, `Blue words raise the ${what}, orange ones lower it. A dotted line marks words ` +
    "unknown to the model; pale ones are not read."));
  parts.push(node("h2", {}, `${of[0].toUpperCase()}${of.slice(1)} after each word`), curve);
  const rows = answer.trace.map((step) => node("tr", {}, node("th", { scope: "row", dir: "auto" }, safe(step.word)),
    node("td", {}, safe(step.label)), node("td", {}, (step.probability ?? step.stars).toFixed(4))));
  parts.push(node("details", {}, node("summary", {}, "The curve as a table"), node("table", {}, ...rows)));
  return parts;
}

// Rows of a CSV (comma, semicolon or tab; quoted fields may hold line breaks), as lists of fields.
function parseTable(text, delimiter) {
  const rows = [];
  let row = [], field = "", isQuoted = false, wasQuoted = false;
  const endField = () => { row.push(field); field = ""; wasQuoted = false; };
  const endRow = () => { endField(); if (row.length > 1 || row[0] !== "") rows.push(row); row = []; };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (isQuoted) {
      if (c !== '"') field += c;
      else if (text[i + 1] === '"') { field += '"'; i++; }
      else isQuoted = false;
    } else if (c === '"' && field === "" && !wasQuoted) isQuoted = wasQuoted = true;
    else if (c === delimiter) endField();
    else if (c === "\n") endRow();
    else if (c !== "\r" || text[i + 1] !== "\n") field += c;
  }
  if (isQuoted) throw new Error("a quote is opened and never closed");
  if (field !== "" || row.length) endRow();
  return rows;
}

const TEXT_NAMES = ["text", "review", "sentence", "comment", "content", "body", "message", "tweet", "document"];

// The header, rows and the column of the texts of a file: a table by its name, else lines.
function readFile(name, text) {
  text = text.replace(/^\ufeff/, "");
  if (!/\.(csv|tsv)$/i.test(name)) {
    const lines = text.split(/\r?\n/);
    if (lines.at(-1) === "") lines.pop();
    return { header: ["text"], rows: lines.map((line) => [line]), column: 0 };
  }
  const first = text.slice(0, text.indexOf("\n") + 1 || undefined);
  const counts = [",", ";", "\t"].map((one) => [first.split(one).length, one]);
  const rows = parseTable(text, /\.tsv$/i.test(name) ? "\t" : counts.sort((a, b) => b[0] - a[0])[0][1]);
  const header = rows.shift() || [];
  const odd = rows.findIndex((row) => row.length !== header.length);
  if (odd >= 0) throw new Error(`row ${odd + 1} has ${rows[odd].length} fields where the header names ${header.length}`);
  const names = header.map((one) => one.trim().toLowerCase());
  let column = TEXT_NAMES.map((one) => names.indexOf(one)).find((place) => place >= 0);
  if (column === undefined && header.length === 1) column = 0;
  if (column === undefined) throw new Error(`no column is called ${TEXT_NAMES.slice(0, 4).join(", ")} or the like`);
  return { header, rows, column };
}

// A cell that no spreadsheet computes: what begins as a formula, and is no number, gets an apostrophe before it.
function cell(value) {
  let text = String(value);
  const isFormula = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text) || /^[\t\r\n]/.test(text);
  if (isFormula && !/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text)) text = `'${text}`;
  return /["\t\r\n,]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function fields(answer) {
  if (answer.error !== undefined) return ["", "", answer.error];
  return [labelOf(answer), String(answer.probability ?? answer.stars), ""];
}

function writeTable({ header, rows }, answers) {
  const taken = new Set(header);
  const free = (name) => { while (taken.has(name)) name = `prediction_${name}`; taken.add(name); return name; };
  const isStars = answers.some((answer) => answer.stars !== undefined), hasErrors = answers.some((answer) => answer.error);
  const added = ["label", isStars ? "stars" : "probability", ...(hasErrors ? ["error"] : [])].map(free);
  const lines = [[...header, ...added], ...rows.map((row, i) => [...row, ...fields(answers[i]).slice(0, added.length)])];
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

// `ask(texts, {reasons, signal})` gives an answer for each text, as `sentiment predict --json` has it.
function startPage(ask) {
  const one = (id) => document.getElementById(id);
  const input = one("text"), shown = one("answer"), status = one("status");
  let timers = [], running = null;

  async function answer(reasons) {
    const text = input.value;
    running?.abort();
    if (!text.trim()) { shown.replaceChildren(); status.textContent = ""; return; }
    const mine = (running = new AbortController());
    try {
      const [found] = await ask([text], { reasons, signal: mine.signal });
      if (mine.signal.aborted || input.value !== text) return;
      if (found.error !== undefined) throw new Error(found.error);
      status.textContent = "";
      shown.replaceChildren(...drawVerdict(found), ...(found.trace ? drawReasons(text, found) : []));
    } catch (error) {
      if (!mine.signal.aborted) status.textContent = `No answer: ${error.message}`;
    }
  }

  function soon() {
    timers.forEach(clearTimeout);
    timers = [setTimeout(answer, FIRST_MS, false), setTimeout(answer, THEN_MS, true)];
  }

  input.addEventListener("input", soon);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); answer(true); }
  });
  one("form").addEventListener("submit", (event) => { event.preventDefault(); timers.forEach(clearTimeout); answer(true); });
  if (input.value.trim() && !shown.childElementCount) soon();

  const drop = one("drop"), chooser = one("file"), table = one("table");
  one("files").hidden = false;
  let stop = null, address = null;

  async function judge(file) {
    stop?.abort();
    const mine = (stop = new AbortController());
    if (address) URL.revokeObjectURL(address);
    const say = (...children) => table.replaceChildren(...children);
    try {
      if (file.size > MOST_BYTES) throw new Error("the file is larger than 20 MB; sentiment predict --file takes any size");
      const read = readFile(file.name, new TextDecoder("utf-8").decode(await file.arrayBuffer()));
      if (!read.rows.length) throw new Error("it has no rows");
      const bar = node("progress", { max: read.rows.length, value: 0, "aria-label": "Rows answered" });
      const cancel = node("button", { type: "button", class: "quiet" }, "Stop");
      cancel.addEventListener("click", () => { mine.abort(); say(node("p", {}, "Stopped.")); });
      say(node("div", { class: "row" }, bar, cancel));
      const answers = [];
      while (answers.length < read.rows.length && !mine.signal.aborted) {
        const texts = read.rows.slice(answers.length, answers.length + AT_ONCE).map((row) => row[read.column]);
        answers.push(...(await askPatiently(texts, mine.signal)));
        bar.value = answers.length;
      }
      if (!mine.signal.aborted) say(...drawTable(file.name, read, answers));
    } catch (error) {
      if (!mine.signal.aborted) say(node("p", { class: "problem", role: "alert" }, `${safe(file.name)}: ${error.message}.`));
    }
  }

  async function askPatiently(texts, signal) {
    for (let wait = 250; ; wait *= 2) {
      try {
        return await ask(texts, { reasons: false, signal });
      } catch (error) {
        if (!error.isBusy || wait > 10_000 || signal.aborted) throw error;
        await new Promise((resume) => setTimeout(resume, wait));
      }
    }
  }

  function drawTable(name, read, answers) {
    address = URL.createObjectURL(new Blob([writeTable(read, answers)], { type: "text/csv" }));
    const link = node("a", { class: "save", href: address, download: `${name.replace(/\.\w+$/, "")}-answers.csv` }, "Download the answers (CSV)");
    const counts = new Map();
    for (const answer of answers) {
      const label = answer.error === undefined ? labelOf(answer) : "no answer";
      counts.set(label, (counts.get(label) || 0) + 1);
    }
    const total = [...counts].map(([label, n]) => `${safe(label)} ${n.toLocaleString("en")}`).join(", ");
    const rows = answers.slice(0, SHOWN).map((answer, i) => node("tr", {},
      node("td", { class: "figure" }, String(i + 1)),
      node("td", { dir: "auto" }, safe(answer.error ?? labelOf(answer))),
      node("td", { class: "figure" }, answer.error === undefined ? figure(answer) : ""),
      node("td", { class: "quote", dir: "auto" }, safe(read.rows[i][read.column].slice(0, 300)))));
    const head = ["Row", "Label", answers.some((answer) => answer.stars !== undefined) ? "Stars" : "Probability", "Text"].map((title) => node("th", { scope: "col" }, title));
    const more = answers.length > SHOWN ? [node("p", { class: "soft" }, `The first ${SHOWN} rows are shown; the file has all.`)] : [];
    return [node("p", { role: "status" }, `${answers.length.toLocaleString("en")} rows: ${total}.`), link,
      node("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Answers" },
        node("table", {}, node("thead", {}, node("tr", {}, ...head)), node("tbody", {}, ...rows))), ...more];
  }

  chooser.addEventListener("change", () => { if (chooser.files[0]) judge(chooser.files[0]); });
  for (const name of ["dragenter", "dragover"]) {
    window.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) judge(event.dataTransfer.files[0]);
  });
}
