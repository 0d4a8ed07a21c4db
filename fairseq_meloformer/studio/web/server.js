// The server, as the page uses it; every failure is an Error with one sentence.

async function checked(answer) {
  if (answer.ok) return answer;
  let sentence = answer.statusText;
  try {
    sentence = (await answer.json()).error ?? sentence;
  } catch {
    // It is no JSON.
  }
  throw new Error(sentence);
}

const json = async (path, options) => (await checked(await fetch(path, options))).json();

export const understand = (changes, signal) => json(`/understand?${new URLSearchParams(changes)}`, { signal });
export const piece = (id) => json(`/pieces/${id}`);
export const bring = (file) => json(`/pieces?${new URLSearchParams({ name: file.name })}`, { method: "POST", body: file });
export const soundfont = async () => (await checked(await fetch("/soundfont"))).arrayBuffer();

// Events of an ask one by one; aborting the signal cancels it.
export async function* compose(ask, signal) {
  const answer = await checked(
    await fetch("/compose", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ask),
      signal,
    }),
  );
  let rest = "";
  for await (const chunk of chunks(answer.body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (rest + chunk).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (!block.startsWith("data: ")) continue;
      const event = JSON.parse(block.slice(6));
      if (event.event === "error") throw new Error(event.error);
      yield event;
    }
  }
}

// Streams cannot be iterated over in every browser yet.
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
