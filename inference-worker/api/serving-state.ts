/** Whether this process takes calls: what health answers are made of. Watchers are told of every change. */
export class ServingState {
  private current = false;
  private readonly listeners = new Set<(serving: boolean) => void>();

  get serving(): boolean {
    return this.current;
  }

  set(serving: boolean): void {
    if (serving === this.current) return;
    this.current = serving;
    for (const listener of [...this.listeners]) listener(serving);
  }

  /** Calls `listener` at every change until the returned function is called. */
  onChange(listener: (serving: boolean) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
