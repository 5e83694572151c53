/** Small jobs that touch the DOM, done before a frame is drawn, and never more of them than fit in it. */

const BUDGET = 9; // milliseconds of a frame

const jobs: Array<() => void> = [];
let frame = 0;

function run(): void {
  frame = 0;
  const end = performance.now() + BUDGET;
  do jobs.shift()?.();
  while (jobs.length > 0 && performance.now() < end);
  if (jobs.length > 0) schedule();
}

function schedule(): void {
  if (!frame) frame = requestAnimationFrame(run);
}

/** Does a job soon, in turn. */
export function soon(job: () => void): void {
  jobs.push(job);
  schedule();
}
