import { keepPreviousData, useQuery } from "@tanstack/react-query";
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

export const componentQuery = (id: string) => ({
  queryKey: [ATLAS, "component", id],
  queryFn: ({ signal }: { signal: AbortSignal }) => api.component(id, signal),
});

/** What the atlas holds of a component; that of the one before while it is read. */
export function useComponent(id: string) {
  return useQuery({ ...componentQuery(id), placeholderData: keepPreviousData });
}

export function useCard(id: string) {
  return useQuery({
    queryKey: [ATLAS, "card", id],
    queryFn: ({ signal }) => api.card(id, signal),
  });
}

export function useWeights(id: string) {
  return useQuery({
    queryKey: [ATLAS, "weights", id],
    queryFn: ({ signal }) => api.weights(id, signal),
    placeholderData: keepPreviousData,
  });
}

export function useCofiring(id: string, wanted: boolean) {
  return useQuery({
    queryKey: [ATLAS, "cofiring", id],
    queryFn: ({ signal }) => api.cofiring(id, signal),
    enabled: wanted,
    placeholderData: keepPreviousData,
  });
}

/** The value of every pair of an example's tokens. */
export function usePairs(id: string, example: Pick<Example, "kind" | "rank" | "band">, wanted: boolean) {
  const { kind, rank, band } = example;
  return useQuery({
    queryKey: [ATLAS, "pairs", id, kind, rank, band],
    queryFn: ({ signal }) => api.pairs(id, { kind, rank, band }, signal),
    enabled: wanted,
  });
}

/** What a component does on a prompt; the answer before while the next is on its way. */
export function useOnPrompt(id: string, prompt: string, bos: boolean) {
  return useQuery({
    queryKey: [ATLAS, "prompt", id, prompt, bos],
    queryFn: ({ signal }) => api.onPrompt(id, prompt, bos, signal),
    enabled: prompt !== "",
    placeholderData: keepPreviousData,
  });
}
