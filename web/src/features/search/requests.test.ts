import { expect, test } from "vitest";
import { readSearchView } from "../../url/searchView";
import { askingOf, toCsv, toPython } from "./requests";

test("a search without its text asks for nothing", () => {
  expect(askingOf(readSearchView(""), undefined, true)).toBeNull();
  expect(askingOf(readSearchView("?p="), "example", true)).toBeNull();
  expect(askingOf(readSearchView("?by=push"), "example", true)).toBeNull();
  expect(askingOf(readSearchView(""), "example", true)).toMatchObject({ prompt: "example", sort: "z" });
});

test("without an atlas it is sorted by what there is", () => {
  expect(askingOf(readSearchView("?p=a"), undefined, false)?.sort).toBe("activation");
  expect(askingOf(readSearchView("?p=a&sort=activation"), undefined, false)?.sort).toBe("activation");
  expect(askingOf(readSearchView("?by=push&token=a&sort=strong"), undefined, false)?.sort).toBe("push");
  expect(askingOf(readSearchView("?by=token&token=a"), undefined, false)).toBeNull();
});

test("the program asks what the page asks", () => {
  const view = readSearchView("?p=a%0Ab&bos=1&at=2&kinds=attn&layers=3,4&density=0.01&sort=ratio.asc&page=3");
  const asking = askingOf(view, undefined, true);
  if (!asking) throw new Error("it asks for something");
  expect(toPython("smollm2", asking, ["t/one"])).toContain(
    'components = clew.components(model, autoencoders=["t/one"])\n',
  );
  expect(toPython("smollm2", asking, [])).toContain(
    'components.search_prompt("a\\nb", position=2, bos=True, sort="ratio", kinds=["attn"], layers=[3, 4], max_density=0.01, ascending=True, offset=100)',
  );
});

test("a table is exported in full precision, and what is not there is empty", () => {
  const rows = [{ id: "neuron.5.200", position: 3, activation: 0.123456789, z: null, ratio: null }];
  expect(toCsv("prompt", rows)).toBe(
    "id,position,z,activation,ratio,density,strong\r\nneuron.5.200,3,,0.123456789,,,\r\n",
  );
});
