import { useQuery } from "@tanstack/react-query";
import { api } from "./client";

/** Milliseconds between two looks at the cluster while someone looks at it. */
const WATCHED = 3000;

/** The cluster that work runs on, looked at again and again, also while it is not there. */
export function useCluster() {
  return useQuery({
    queryKey: ["cluster"],
    queryFn: ({ signal }) => api.cluster(signal),
    staleTime: 0,
    refetchInterval: ({ state }) => (state.data?.ray === null ? false : WATCHED),
  });
}
