import { useQuery } from "@tanstack/react-query";
import { useChosen } from "../url/useChosen";
import { api } from "./client";

/** Everything that another shelf would answer otherwise begins with this. */
export const SHELF = "autoencoders";
/** Milliseconds between two looks at trainings while one of them runs. */
const WATCHED = 3000;

export function useAutoencoders() {
  return useQuery({
    queryKey: [SHELF, "list"],
    queryFn: ({ signal }) => api.autoencoders(signal).then(({ rows }) => rows),
    // A terminal may have changed the shelf since.
    staleTime: 0,
  });
}

/** What opens the autoencoders that the open address is about: those it names, else those that the server was given. */
export function useOpened(): readonly string[] {
  const chosen = useChosen();
  const shelf = useAutoencoders();
  return chosen ?? (shelf.data ?? []).filter(({ attached }) => attached).map(({ reference }) => reference);
}

/** The trainings on this machine; looked at again while one of them runs. */
export function useTrainings() {
  return useQuery({
    queryKey: [SHELF, "trainings"],
    queryFn: ({ signal }) => api.trainings(signal),
    staleTime: 0,
    refetchInterval: ({ state }) =>
      state.data?.rows.some(({ stage }) => stage === "running") ? WATCHED : false,
  });
}

export const reportKey = (name: string) => [SHELF, "report", name] as const;

/** What an autoencoder is worth; `judged` says whether there is anything to read. */
export function useReport(name: string, judged: boolean) {
  return useQuery({
    queryKey: reportKey(name),
    queryFn: ({ signal }) => api.report(name, signal),
    enabled: judged,
  });
}
