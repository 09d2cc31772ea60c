import { Button } from "./Button";

const TYPES = { csv: "text/csv", json: "application/json" } as const;

/** Saves what `text` gives as a file, by whose ending it is called: CSV or JSON. */
export function SaveButton({
  file,
  title,
  disabled = false,
  text,
  onFailed,
}: {
  file: `${string}.${keyof typeof TYPES}`;
  title?: string;
  disabled?: boolean;
  text: () => string | Promise<string>;
  /** Hears why there was nothing to save, where `text` has to ask for it. */
  onFailed?: (error: Error | null) => void;
}) {
  const ending = file.slice(file.lastIndexOf(".") + 1) as keyof typeof TYPES;
  const save = async () => {
    onFailed?.(null);
    try {
      download(file, TYPES[ending], await text());
    } catch (error) {
      if (!onFailed) throw error;
      onFailed(error as Error);
    }
  };
  return (
    <Button icon="save" disabled={disabled} title={title} onClick={save}>
      {ending.toUpperCase()}
    </Button>
  );
}

/** Hands the browser a file to save. */
function download(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
