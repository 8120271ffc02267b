// Answers of the server that this page came from.
async function askServer(texts, { reasons, signal }) {
  const found = await fetch(reasons ? "predict?explain=true&trace=true" : "predict", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ texts }), signal,
  });
  const body = await found.json();
  if (!found.ok) throw Object.assign(new Error(body.error), { isBusy: found.status === 503 });
  for (const answer of body.predictions) answer.explanation ??= answer.explanations?.[0]; // of several, the likeliest label's
  return body.predictions;
}
startPage(askServer);
