import { useMemo } from "react";
import { useSearch } from "./address";
import { type Chosen, readChosen } from "./params";

/** The autoencoders that the open address is about. */
export function useChosen(): Chosen {
  const search = useSearch();
  return useMemo(() => readChosen(new URLSearchParams(search)), [search]);
}
