import type { Model } from "../../api/types";
import { Button } from "../../components/Button";
import { Icon } from "../../components/Icon";
import { Segmented } from "../../components/Segmented";
import { THEMES, type Theme, useTheme } from "../../components/useTheme";
import { count } from "../../format/number";

const ICONS = { light: "sun", system: "system", dark: "moon" } as const;

export function TopBar({
  model,
  version,
  onHelp,
}: {
  model: Model | undefined;
  version: string | undefined;
  onHelp: () => void;
}) {
  const [theme, setTheme] = useTheme();
  return (
    <header className="flex h-11 items-center gap-3 border-b border-line bg-panel px-3">
      <a href="/" className="flex shrink-0 items-center gap-1.5" title={version && `Clew ${version}`}>
        <img src="/clew.svg" alt="" className="size-5" />
        <span className="text-[15px] font-semibold tracking-tight">clew</span>
      </a>
      {model && (
        <p className="min-w-0 truncate text-xs text-ink-2">
          <span className="font-mono text-ink">{model.name}</span>
          <span className="max-sm:hidden">
            {` · ${model.family} · ${model.n_layers} layers × ${model.n_heads} heads · ${count(model.n_neurons)} neurons a layer · ${model.dtype} on ${model.device}`}
          </span>
        </p>
      )}
      <div className="ml-auto flex shrink-0 items-center gap-2">
        <Segmented<Theme>
          label="Theme"
          value={theme}
          onChange={setTheme}
          choices={THEMES.map((value) => ({
            value,
            title: `${value[0]?.toUpperCase()}${value.slice(1)} theme`,
            label: (
              <>
                <Icon name={ICONS[value]} />
                <span className="sr-only">{value}</span>
              </>
            ),
          }))}
        />
        <Button look="bare" onClick={onHelp} aria-label="Help" title="Help (?)" className="font-semibold">
          ?
        </Button>
      </div>
    </header>
  );
}
