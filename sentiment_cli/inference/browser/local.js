// Answers of the model in this page, with a breath for the page between two pieces of work.
const model = buildModel(JSON.parse(document.getElementById("model").textContent));
const breathe = () => new Promise((resume) => setTimeout(resume, 0));

async function askHere(texts, { reasons, signal }) {
  const found = [];
  for (const text of texts) {
    const answer = model.predict(text);
    if (reasons) {
      const traced = await model.trace(text, answer, async () => { await breathe(); return !signal.aborted; });
      if (traced === null) return found;
      answer.trace = traced.steps;
      answer.before = traced.before;
      const explanation = model.explain(text);
      if (explanation) answer.explanation = explanation;
    }
    found.push(answer);
    await breathe();
    if (signal.aborted) return found;
  }
  return found;
}
startPage(askHere);
