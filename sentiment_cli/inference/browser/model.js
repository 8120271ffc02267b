"use strict";
// The model in plain JavaScript: a text's tokens, and what the network says of them.

const PAD = 0, START = 1, MOST_STEPS = 400, MOST_READINGS = 40;

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 32768 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function tensorOf({ shape, type, data, scales }) {
  const bytes = bytesOf(data), size = shape.reduce((a, b) => a * b, 1);
  const view = new DataView(bytes.buffer), values = new Float32Array(size);
  if (type === "fp32") for (let i = 0; i < size; i++) values[i] = view.getFloat32(4 * i, true);
  else if (type === "fp16") for (let i = 0; i < size; i++) values[i] = half(view.getUint16(2 * i, true));
  else {
    const scale = new DataView(bytesOf(scales).buffer), width = size / shape[0];
    for (let i = 0; i < size; i++) values[i] = view.getInt8(i) * scale.getFloat32(4 * Math.floor(i / width), true);
  }
  return values;
}

// A word without the white space around it, with marks and repeated letters behind.
function fit(characters, from, to, limit) {
  const isSpace = (i) => /^\s$/u.test(characters[i]);
  let begin = from, end = to;
  while (begin < end && isSpace(begin)) begin++;
  while (begin < end && isSpace(end - 1)) end--;
  if (begin === end) [begin, end] = [from, to];
  const isMore = (i) => /^\p{M}$/u.test(characters[i]) || (i - begin >= 3 && /^\p{L}$/u.test(characters[i]) &&
    new Set(characters.slice(i - 3, i + 1).map((one) => one.toLowerCase())).size === 1);
  while (end < limit && isMore(end)) end++;
  return [begin, end];
}

// ---- text to tokens; each UTF-16 unit of the text in work knows which characters of the original it stands for

const ENTITY = /&(amp;)?(#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][0-9A-Za-z]{1,31});/g;

function numbered(name, odd) {
  const code = /^#[xX]/.test(name) ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10);
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return "\ufffd";
  return odd[code] ?? String.fromCodePoint(code);
}

function buildTokenizer(saved) {
  const normalizers = saved.normalize.map((step) => ({ ...step, pattern: step.pattern && new RegExp(step.pattern, "gu") }));
  const splitters = saved.split.map((step) => ({ ...step, pattern: step.pattern && new RegExp(step.pattern, "gu") }));
  const ids = new Map(saved.model.entries.map((entry, i) => [entry, i]));
  const ranks = saved.model.merges && new Map(saved.model.merges.map(([a, b], i) => [`${a} ${b}`, i]));
  const known = new Map();

  function start(text) {
    const from = [], to = [];
    let place = 0;
    for (const character of text) {
      for (let unit = 0; unit < character.length; unit++) { from.push(place); to.push(place + 1); }
      place++;
    }
    return { text, from, to };
  }

  // Replace what lies between units by other text, piece by piece: [begin, end, replacement] in order.
  function rewrite(work, pieces) {
    const parts = [], from = [], to = [];
    let cursor = 0;
    const keep = (end) => {
      parts.push(work.text.slice(cursor, end));
      for (let i = cursor; i < end; i++) { from.push(work.from[i]); to.push(work.to[i]); }
    };
    for (const [begin, end, made] of pieces) {
      keep(begin);
      parts.push(made);
      const after = end > begin ? work.to[end - 1] : work.from[begin]; // nothing stands for what is put in between
      for (let i = 0; i < made.length; i++) { from.push(work.from[begin]); to.push(after); }
      cursor = end;
    }
    keep(work.text.length);
    return { text: parts.join(""), from, to };
  }

  function normalize(work) {
    for (const step of normalizers) {
      const pieces = [];
      if (step.type === "Entities") {
        for (const found of work.text.matchAll(ENTITY)) {
          const made = found[2][0] === "#" ? numbered(found[2], step.odd) : step.names[found[2]];
          if (typeof made === "string") pieces.push([found.index, found.index + found[0].length, made]);
          else if (found[1]) pieces.push([found.index, found.index + 1 + found[1].length, "&"]);
        }
      } else if (step.type === "form") {
        // No character composes with an ASCII one behind it, so these runs can be treated one by one.
        for (const found of work.text.matchAll(/[\u0000-\u007f]?[^\u0000-\u007f]+/gu)) {
          const made = found[0].normalize(step.form);
          if (made !== found[0]) pieces.push([found.index, found.index + found[0].length, made]);
        }
      } else if (step.type === "Lowercase") {
        let place = 0;
        for (const character of work.text) { // by itself, so that a sigma at a word's end is one like others
          const made = character.toLowerCase();
          if (made !== character) pieces.push([place, place + character.length, made]);
          place += character.length;
        }
      } else {
        for (const found of work.text.matchAll(step.pattern)) {
          if (found[0] || step.content) pieces.push([found.index, found.index + found[0].length, step.content]);
        }
      }
      if (pieces.length) work = rewrite(work, pieces);
    }
    return work;
  }

  function slice(work, begin, end) {
    return { text: work.text.slice(begin, end), from: work.from.slice(begin, end), to: work.to.slice(begin, end) };
  }

  function split(works, step) {
    const made = [];
    for (const work of works) {
      let whole = work;
      if (step.type === "ByteLevel" && step.prefix && !work.text.startsWith(" ") && work.text) {
        whole = { text: ` ${work.text}`, from: [work.from[0], ...work.from], to: [work.from[0], ...work.to] };
      }
      if (!step.pattern) { made.push(whole); continue; }
      const takesMatches = step.type === "ByteLevel" || step.behavior === "Isolated" || step.invert;
      const takesRest = step.type !== "ByteLevel" && (step.behavior === "Isolated" || !step.invert);
      let cursor = 0;
      for (const found of whole.text.matchAll(step.pattern)) {
        if (!found[0]) continue;
        if (takesRest && found.index > cursor) made.push(slice(whole, cursor, found.index));
        if (takesMatches) made.push(slice(whole, found.index, found.index + found[0].length));
        cursor = found.index + found[0].length;
      }
      if (takesRest && cursor < whole.text.length) made.push(slice(whole, cursor, whole.text.length));
    }
    return step.type === "ByteLevel" ? made.map((work) => ({ ...work, bytes: spell(work.text) })) : made;
  }

  // Bytes as the characters that byte-level vocabularies spell them with.
  const spelling = [];
  for (let byte = 0, next = 256; byte < 256; byte++) {
    const isShown = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    spelling.push(String.fromCharCode(isShown ? byte : next++));
  }
  const spell = (text) => Array.from(new TextEncoder().encode(text), (byte) => spelling[byte]).join("");

  function merge(word) {
    if (known.has(word)) return known.get(word);
    const parts = Array.from(word);
    for (;;) {
      let best = -1, least = Infinity;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank < least) { least = rank; best = i; }
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
    const found = parts.map((part) => ids.get(part)).filter((id) => id !== undefined);
    known.set(word, found);
    return found;
  }

  // A word's own id; of an unknown word that of the unknown one, and those of the n-grams of its characters.
  function look(word) {
    const own = ids.get(word), { unknown, pieces } = saved.model;
    if (own !== undefined && own !== unknown) return [own];
    const found = [unknown], letters = Array.from(word);
    if (!pieces || letters.length < 2) return found;
    const padded = [" ", ...letters.slice(0, pieces.read), " "], seen = new Set();
    for (let n = 1; n <= Math.min(pieces.longest, padded.length); n++) {
      for (let i = 0; i + n <= padded.length; i++) {
        const id = ids.get(pieces.mark + padded.slice(i, i + n).join(""));
        if (id !== undefined && !seen.has(id)) { seen.add(id); found.push(id); }
      }
    }
    return found;
  }

  // Token ids, the number of each one's word, and where each word stands in the text, in characters.
  return (text) => {
    let works = [normalize(start(text))];
    for (const step of splitters) works = works.flatMap((work) => split([work], step));
    const found = { ids: [], word: [], places: [] }, characters = Array.from(text);
    for (const work of works) {
      if (!work.text) continue;
      const made = saved.model.type === "BPE" ? merge(work.bytes ?? work.text) : look(work.text);
      const from = work.from[0], to = work.to.at(-1), before = found.places.at(-1);
      if (before && from < before[1]) before[1] = Math.max(before[1], to); // of one character of the text
      else found.places.push([from, to]);
      for (const id of made) { found.ids.push(id); found.word.push(found.places.length - 1); }
    }
    found.places = found.places.map(([from, to], i) => fit(characters, from, to, found.places[i + 1]?.[0] ?? characters.length));
    return found;
  };
}

// ---- which tokens are read

function keptPlaces(n, { max_tokens: most, truncate, start }) {
  const full = n + (start ? 1 : 0), kept = most === null ? full : Math.min(full, most);
  const head = truncate === "tail" || most === null ? 0 : most >> 2, places = [];
  for (let i = 0; i < kept; i++) {
    const place = i + (truncate !== "head" && i >= head ? full - kept : 0) - (start ? 1 : 0);
    if (place >= 0) places.push(place);
  }
  return places;
}

// A row as the network sees it: truncated, with its start token and the padding that is a part of the input.
function readRow(ids, reading) {
  const { max_tokens: most, truncate, start, pad_to: width } = reading;
  const full = ids.length + (start ? 1 : 0), kept = most === null ? full : Math.min(full, most);
  const head = truncate === "tail" || most === null ? 0 : most >> 2, row = [];
  for (let i = 0; i < kept; i++) {
    const place = i + (truncate !== "head" && i >= head ? full - kept : 0) - (start ? 1 : 0);
    row.push(place < 0 ? START : ids[place]);
  }
  if (width !== null) return [...Array(Math.max(0, width - row.length)).fill(PAD), ...row];
  return row.length ? row : [PAD];
}

// ---- networks

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function product(weight, values, bias, n, out) { // out = weight · values + bias, of n numbers a row
  for (let i = 0; i < out.length; i++) {
    let sum = bias ? bias[i] : 0;
    const at = i * n;
    for (let j = 0; j < n; j++) sum += weight[at + j] * values[j];
    out[i] = sum;
  }
  return out;
}

// What one direction of one layer says after each input; `cache` keeps what words contribute, by their id.
function runCell(kind, width, weights, inputs, cache, ids) {
  const { ih, hh, bi, bh } = weights, nIn = inputs.length ? inputs[0].length : 0, gates = ih.length / nIn;
  let state = new Float64Array(width), memory = new Float64Array(width);
  const recurrent = new Float64Array(gates), states = [];
  for (let t = 0; t < inputs.length; t++) {
    let given = ids && cache.get(ids[t]);
    if (!given) {
      given = product(ih, inputs[t], bi, nIn, new Float64Array(gates));
      if (ids) cache.set(ids[t], given);
    }
    product(hh, state, bh, width, recurrent);
    const next = new Float64Array(width);
    if (kind === "lstm") { // input, forget, new, output
      const kept = new Float64Array(width);
      for (let k = 0; k < width; k++) {
        const gate = (g) => given[g * width + k] + recurrent[g * width + k];
        kept[k] = sigmoid(gate(1)) * memory[k] + sigmoid(gate(0)) * Math.tanh(gate(2));
        next[k] = sigmoid(gate(3)) * Math.tanh(kept[k]);
      }
      memory = kept;
    } else if (kind === "gru") { // reset, update, new
      for (let k = 0; k < width; k++) {
        const reset = sigmoid(given[k] + recurrent[k]), update = sigmoid(given[width + k] + recurrent[width + k]);
        const made = Math.tanh(given[2 * width + k] + reset * recurrent[2 * width + k]);
        next[k] = (1 - update) * made + update * state[k];
      }
    } else {
      for (let k = 0; k < width; k++) {
        const sum = given[k] + recurrent[k];
        next[k] = kind === "rnn" ? Math.tanh(sum) : Math.max(0, sum);
      }
    }
    states.push((state = next));
  }
  return states;
}

function buildRecurrent(saved, tensors) {
  const wide = saved.wide && buildWide(saved, tensors);
  const { width, layers, bidirectional, pooling, cell } = saved, nLabels = tensors["output.bias"].length;
  const embedding = tensors["embedding.weight"], nIn = saved.tensors["embedding.weight"].shape[1];
  const way = (name, i) => {
    const of = (part) => tensors[`encoder.${name}_layers.${i}.${part}_l0`];
    return { ih: of("weight_ih"), hh: of("weight_hh"), bi: of("bias_ih"), bh: of("bias_hh") };
  };
  const forward = [], backward = [], caches = [new Map(), new Map()];
  for (let i = 0; i < layers; i++) {
    forward.push(way("forward", i));
    if (bidirectional) backward.push(way("backward", i));
  }

  function statesOf(row) {
    const channels = wide && wide.channels(row);
    let inputs = row.map((id, t) => {
      const vector = embedding.subarray(id * nIn, (id + 1) * nIn);
      return channels ? Float64Array.of(...vector, ...channels[t]) : vector;
    });
    const known = channels ? null : row; // of the same word the first layer reads the same numbers
    for (let i = 0; i < layers; i++) {
      const ahead = runCell(cell, width, forward[i], inputs, caches[0], i ? null : known);
      if (!bidirectional) { inputs = ahead; continue; }
      const turned = runCell(cell, width, backward[i], [...inputs].reverse(), caches[1], i || !known ? null : [...row].reverse()).reverse();
      inputs = ahead.map((state, t) => { const both = new Float64Array(2 * width); both.set(state); both.set(turned[t], width); return both; });
    }
    return inputs;
  }

  // Pools states one by one, so that what a text would be that ended here is known at every step.
  function pooler(size) {
    const sum = new Float64Array(size), most = new Float64Array(size).fill(-Infinity);
    const weighed = new Float64Array(size), keys = new Float64Array(size), one = new Float64Array(1);
    let n = 0, total = 0, peak = -Infinity, last = null;
    return {
      add(state) {
        n++;
        last = state;
        let weight = 0, shrink = 1;
        if (pooling === "attention") {
          product(tensors["pooling.key.weight"], state, tensors["pooling.key.bias"], size, keys);
          const score = product(tensors["pooling.query.weight"], keys.map(Math.tanh), null, size, one)[0];
          shrink = Math.exp(peak - Math.max(peak, score));
          peak = Math.max(peak, score);
          weight = Math.exp(score - peak);
          total = total * shrink + weight;
        }
        for (let k = 0; k < size; k++) {
          sum[k] += state[k];
          if (state[k] > most[k]) most[k] = state[k];
          weighed[k] = weighed[k] * shrink + weight * state[k];
        }
      },
      value(lastState) {
        const end = lastState ?? last, mean = () => sum.map((value) => value / n);
        if (pooling === "attention") return weighed.map((value) => value / total);
        const parts = { last: [end], mean: [mean()], max: [most], both: [mean(), most], concat: [end, mean(), most] }[pooling];
        const joined = new Float64Array(size * parts.length);
        parts.forEach((part, i) => joined.set(part, i * size));
        return joined;
      },
    };
  }

  const judge = (pooled) => product(tensors["output.weight"], pooled, tensors["output.bias"], pooled.length, new Float64Array(nLabels));

  function outputs(row) {
    const states = statesOf(row), pool = pooler(states[0].length);
    states.forEach((state) => pool.add(state));
    let end = states.at(-1);
    if (bidirectional) { // the backward direction ends at the first token
      end = Float64Array.from(end);
      end.set(states[0].subarray(width), width);
    }
    const found = judge(pool.value(end));
    return wide ? found.map((value, c) => value + wide.added(row)[c]) : found;
  }

  function* prefixOutputs(row) { // in one direction what follows changes nothing: one reading serves all beginnings
    const states = statesOf(row), pool = pooler(width);
    for (const state of states) { pool.add(state); yield judge(pool.value()); }
  }
  return { outputs, prefixOutputs: bidirectional || wide ? null : prefixOutputs };
}

function buildLinear(saved, tensors) {
  const { weight, bias, size } = tensors, n = bias.length, nEntries = saved.tokenizer.model.entries.length;
  const bytes = bytesOf(saved.keys.gaps), places = new Map();
  for (let at = 0, key = 0, k = 0; k < saved.keys.n; k++) {
    let gap = 0, scale = 1;
    for (;;) { const byte = bytes[at++]; gap += (byte & 127) * scale; scale *= 128; if (byte < 128) break; }
    places.set((key += gap), k + nEntries);
  }

  // Each word and n-gram of a row once, with the places of its first tokens, in the order of where they end.
  function features(row, end = () => {}) {
    const found = new Map();
    const note = (feature, at, length) => {
      if (!found.has(feature)) found.set(feature, { feature, length, places: [] });
      found.get(feature).places.push(at);
    };
    const open = []; // the n-grams that end at the token before, longest first
    row.forEach((id, i) => {
      const isWord = id !== PAD && id !== saved.unknown, longer = [];
      if (isWord) {
        for (const [feature, at, length] of open) {
          const next = length < saved.ngrams ? places.get(feature * nEntries + id) : undefined;
          if (next !== undefined) longer.push([next, at, length + 1]);
        }
        longer.push([id, i, 1]);
      }
      open.splice(0, open.length, ...longer);
      for (const [feature, at, length] of open) { note(feature, at, length); end(i, feature, length); }
    });
    return [...found.values()];
  }

  // The weights of a row's features, of a normalized model over the root of how many features each of them counts for.
  function summed() {
    const sum = new Float64Array(n);
    let total = 0;
    const root = () => (size ? Math.sqrt(Math.max(1, total)) : 1);
    return {
      add(feature) {
        for (let c = 0; c < n; c++) sum[c] += weight[feature * n + c];
        if (size) total += size[feature];
        return this;
      },
      root,
      outputs: () => sum.map((value, c) => value / root() + bias[c]),
    };
  }
  const ofRow = (row) => features(row).reduce((sum, one) => sum.add(one.feature), summed());
  return {
    features,
    weightOf: (feature, c) => weight[feature * n + c],
    rootOf: (row) => ofRow(row).root(),
    outputs: (row) => ofRow(row).outputs(),
    *prefixOutputs(row) {
      const byEnd = row.map(() => []);
      for (const one of features(row)) byEnd[one.places[0] + one.length - 1].push(one.feature);
      const sum = summed();
      for (const ending of byEnd) { ending.forEach((feature) => sum.add(feature)); yield sum.outputs(); }
    },
  };
}

// A linear model beside a network: numbers beside the vector of each word, and what is added to the logits.
function buildWide(saved, tensors) {
  const of = (name) => tensors[`wide.${name}`], map = of("channel.weight"), bias = of("channel.bias");
  const linear = buildLinear({ ...saved, ngrams: saved.wide.ngrams, keys: saved.wide.keys },
    { weight: of("linear.weight"), bias: of("linear.bias"), size: of("linear.size") });
  const n = of("linear.bias").length, nIn = saved.wide.ngrams * n, gain = of("gain")[0];
  return {
    channels(row) {
      if (!map) return null;
      const weights = row.map(() => new Float64Array(nIn)); // of the n-grams that end here, the shortest first
      linear.features(row, (at, feature, length) => {
        for (let c = 0; c < n; c++) weights[at][(length - 1) * n + c] = linear.weightOf(feature, c) * gain;
      });
      return weights.map((values) => product(map, values, bias, nIn, new Float64Array(bias.length)));
    },
    added: (row) => linear.outputs(row).map((value) => (of("scale") ? of("scale")[0] * value : 0)),
  };
}

// ---- answers, as `sentiment predict --json` has them

function buildModel(saved) {
  const tensors = Object.fromEntries(Object.entries(saved.tensors).map(([name, one]) => [name, tensorOf(one)]));
  const network = (saved.kind === "linear" ? buildLinear : buildRecurrent)(saved, tensors);
  const tokenize = buildTokenizer(saved.tokenizer), words = new Set(saved.words), { labels, reading, stars } = saved;
  const whole = saved.tokenizer.model.pieces?.first ?? Infinity, isKnown = (id) => id !== saved.unknown && id < whole;
  const most = reading.max_tokens === null ? Infinity : reading.max_tokens - (reading.start && reading.truncate !== "tail" ? 1 : 0);

  function verdict(output) {
    if (stars) {
      const rating = Math.min(stars.most, Math.max(stars.least, stars.middle + stars.reach * output[0]));
      return { label: labels[output[0] >= 0 ? 1 : 0], probability: null, probabilities: null, stars: rating };
    }
    let shares;
    if (output.length === 1) {
      const second = 0.5 * (1 + Math.tanh((0.5 * output[0]) / saved.temperature));
      shares = [1 - second, second];
    } else {
      const highest = Math.max(...output);
      const odds = Array.from(output, (value) => Math.exp((value - highest) / saved.temperature));
      const total = odds.reduce((a, b) => a + b, 0);
      shares = odds.map((one) => one / total);
    }
    const best = shares.lastIndexOf(Math.max(...shares));
    return { label: labels[best], probability: shares[best], probabilities: Object.fromEntries(labels.map((label, i) => [label, shares[i]])) };
  }

  function predict(text) {
    const { ids } = tokenize(text);
    return {
      ...verdict(network.outputs(readRow(ids, reading))),
      tokens: ids.filter((id) => id < whole).length, // without the characters of unknown words
      unknown: ids.filter((id) => id === saved.unknown).length,
      truncated: ids.length > most,
      low_evidence: !ids.some((id) => words.has(id)),
    };
  }

  const share = (answer, label) => (stars ? answer.stars : answer.probabilities[label]);

  // The answer after each word that is read, or after some of them where each one needs a reading of its own. Between
  // readings `pause` lets the page breathe; where it says false, the work is given up.
  async function trace(text, answer, pause) {
    const { ids, word, places } = tokenize(text), kept = keptPlaces(ids.length, reading);
    const read = kept.map((place) => ids[place]), wordOf = kept.map((place) => word[place]), ends = [];
    wordOf.forEach((one, i) => { if (wordOf[i + 1] !== one) ends.push(i + 1); });
    // Of a text so long that its end alone is read, shorter beginnings still have their start token.
    const isAlike = !reading.start || !read.length || readRow(read, reading)[0] === START;
    const isQuick = network.prefixOutputs !== null && reading.pad_to === null && isAlike;
    const limit = isQuick ? MOST_STEPS : MOST_READINGS, chosen = [];
    const count = Math.min(limit, ends.length);
    for (let i = 0; i < count; i++) chosen.push(ends[count === 1 ? ends.length - 1 : Math.round((i * (ends.length - 1)) / (count - 1))]);
    const after = new Map();
    if (isQuick) {
      let end = reading.start && read.length ? -1 : 0;
      for (const output of network.prefixOutputs(readRow(read, reading))) after.set(++end, output);
    } else {
      for (const end of chosen) {
        after.set(end, network.outputs(readRow(read.slice(0, end), reading)));
        if (!(await pause())) return null;
      }
    }
    const before = verdict(network.outputs(readRow([], reading)));
    const characters = Array.from(text), name = stars ? "stars" : "probability";
    const steps = chosen.map((end) => {
      const [from, to] = places[wordOf[end - 1]], at = verdict(after.get(end));
      const tokens = ids.filter((_, i) => word[i] === wordOf[end - 1]);
      return { word: characters.slice(from, to).join(""), start: from, end: to, label: at.label, [name]: share(at, answer.label),
        unknown: !tokens.some(isKnown) };
    });
    return { before: share(before, answer.label), steps };
  }

  // What each word adds in a linear model: of a feature's weight an equal part at all tokens of all its places.
  function explain(text) {
    if (saved.kind !== "linear" || stars) return null;
    const { ids, word, places } = tokenize(text), kept = keptPlaces(ids.length, reading), row = kept.map((place) => ids[place]);
    const output = network.outputs(row.length ? row : [PAD]), added = new Float64Array(places.length);
    const best = output.indexOf(Math.max(...output));
    const aim = (of) => (output.length === 1 ? of(0) : of(best) - labels.reduce((sum, _, c) => sum + (c === best ? 0 : of(c)), 0) / (labels.length - 1));
    const root = network.rootOf(row);
    for (const one of network.features(row)) {
      const each = aim((c) => network.weightOf(one.feature, c)) / root / saved.temperature / (one.places.length * one.length);
      for (const at of one.places) for (let k = at; k < at + one.length; k++) added[word[kept[k]]] += each;
    }
    const characters = Array.from(text), read = new Set(kept.map((place) => word[place]));
    const known = new Set(word.filter((_, i) => isKnown(ids[i])));
    return {
      of: output.length === 1 ? `log-odds of ${labels[1]}` : `logit of ${labels[best]} less the others' mean`,
      words: places.map(([from, to], i) => ({ text: characters.slice(from, to).join(""), start: from, end: to,
        contribution: added[i], unknown: !known.has(i), read: read.has(i) })),
    };
  }

  return { tokenize, predict, trace, explain };
}
