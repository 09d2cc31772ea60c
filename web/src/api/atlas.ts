import { keepPreviousData, useQuery } from "@tanstack/react-query";
import type { Chosen } from "../url/params";
import { useChosen } from "../url/useChosen";
import { api } from "./client";
import type { Example } from "./types";

/** Everything that another atlas would answer otherwise begins with this. */
export const ATLAS = "atlas";
/** Milliseconds between two looks at a collection that another page began. */
const WATCHED = 3000;

/** Which atlas the server has open. */
export function useAtlas() {
  return useQuery({
    queryKey: [ATLAS, "status"],
    queryFn: ({ signal }) => api.atlas(signal),
    refetchInterval: ({ state }) => (state.data?.collecting ? WATCHED : false),
  });
}

/** `among`: the autoencoders whose latents are components. */
export const componentQuery = (id: string, among: Chosen) => ({
  queryKey: [ATLAS, "component", id, among],
  queryFn: ({ signal }: { signal: AbortSignal }) => api.component(id, among, signal),
});

/** What the atlas holds of a component; that of the one before while it is read. */
export function useComponent(id: string) {
  return useQuery({ ...componentQuery(id, useChosen()), placeholderData: keepPreviousData });
}

export function useCard(id: string) {
  const among = useChosen();
  return useQuery({
    queryKey: [ATLAS, "card", id, among],
    queryFn: ({ signal }) => api.card(id, among, signal),
  });
}

export function useWeights(id: string) {
  const among = useChosen();
  return useQuery({
    queryKey: [ATLAS, "weights", id, among],
    queryFn: ({ signal }) => api.weights(id, among, signal),
    placeholderData: keepPreviousData,
  });
}

export function useCofiring(id: string, wanted: boolean) {
  const among = useChosen();
  return useQuery({
    queryKey: [ATLAS, "cofiring", id, among],
    queryFn: ({ signal }) => api.cofiring(id, among, signal),
    enabled: wanted,
    placeholderData: keepPreviousData,
  });
}

/** The value of every pair of an example's tokens. */
export function usePairs(id: string, example: Pick<Example, "kind" | "rank" | "band">, wanted: boolean) {
  const { kind, rank, band } = example;
  const among = useChosen();
  return useQuery({
    queryKey: [ATLAS, "pairs", id, kind, rank, band, among],
    queryFn: ({ signal }) => api.pairs(id, { kind, rank, band }, among, signal),
    enabled: wanted,
  });
}

/** What a component does on a prompt; the answer before while the next is on its way. */
export function useOnPrompt(id: string, prompt: string, bos: boolean) {
  const among = useChosen();
  return useQuery({
    queryKey: [ATLAS, "prompt", id, prompt, bos, among],
    queryFn: ({ signal }) => api.onPrompt(id, prompt, bos, among, signal),
    enabled: prompt !== "",
    placeholderData: keepPreviousData,
  });
}
