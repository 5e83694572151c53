import { useEffect, useState } from "preact/hooks";
import { describe } from "../components/toast";

export interface Loaded<T> {
  value: T | null;
  error: string | null;
  reload: () => void;
}

/** What a page has to fetch; again whenever `key` changes or it is told to. */
export function useLoaded<T>(fetch: () => Promise<T>, key: string): Loaded<T> {
  const [turn, setTurn] = useState(0);
  const [value, setValue] = useState<T | null>(null);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    let left = false;
    fetch().then(
      (found) => left || (setValue(found), setError(null)),
      (problem: unknown) => left || setError(describe(problem)),
    );
    return () => void (left = true);
  }, [key, turn]);
  return { value, error, reload: () => setTurn((now) => now + 1) };
}
