import { expect, test } from "vitest";
import { readSearchView } from "../../url/searchView";
import { wordsAsked, wordsCsv, wordsPython } from "./words";

test("without words the best scores come first", () => {
  expect(wordsAsked(readSearchView("?by=words"))).toMatchObject({ q: "", sort: "score" });
  expect(wordsAsked(readSearchView("?by=words&words=month"))).toMatchObject({
    q: "month",
    sort: "relevance",
  });
  expect(wordsAsked(readSearchView("?by=words&words=month&sort=score"))).toMatchObject({ sort: "score" });
});

test("the copied program asks the same", () => {
  const program = wordsPython(
    "smollm2",
    readSearchView("?by=words&words=month&kinds=neuron&layers=5&llm=lookup&score=0.2&page=2"),
  );
  expect(program).toContain(
    'search(Explanations(), "month", model="smollm2", kinds=["neuron"], layers=[5], llm="lookup", min_score=0.2, sort="relevance", offset=50)',
  );
});

test("what is near in meaning is asked of the embedding model that was named, and of none without words", () => {
  const view = readSearchView("?by=words&words=month&near=m@http://x/v1&sort=score");
  expect(wordsAsked(view)).toMatchObject({ embed: "m@http://x/v1", sort: "relevance" });
  expect(wordsAsked({ ...view, words: " " })).toMatchObject({ embed: null });
  expect(wordsPython("smollm2", view)).toContain(
    'found = similar(kept, "month", embedding, model="smollm2")',
  );
});

test("words that were not scored have empty fields, not zeros", () => {
  const csv = wordsCsv([
    {
      subject: { model: "m", fingerprint: null, autoencoder: null },
      component: "neuron.1.2",
      text: 'fires on "a", mostly',
      llm: "you",
      variant: "written",
      prompt: "",
      atlas: null,
      seed: 0,
      chosen: true,
      cost: { requests: 0, known: 0, prompt_tokens: 0, completion_tokens: 0, money: null },
      validation: null,
      parent: null,
      node: null,
      question: null,
      cited: [],
      scores: [],
      density: 0.01,
      id: 1,
      created: null,
    },
  ]);
  expect(csv.split("\r\n")[1]).toBe('neuron.1.2,"fires on ""a"", mostly",you,written,0.01,,,,,,,,');
});
