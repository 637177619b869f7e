/** What a hedging policy does not do, told once for each model that is hedged. */
import type { Logger } from '../../base/logger.ts';
import type { MeshSnapshot } from '../config/snapshot.ts';

export class HedgeNotices {
  private readonly log: Logger;
  private readonly told = new Set<string>();

  constructor(log: Logger) {
    this.log = log;
  }

  /** A hedge at another endpoint is for single calls: all messages of a stream share one leg to one endpoint. */
  apply(mesh: MeshSnapshot): void {
    for (const { name, hedge } of mesh.models) {
      if (hedge === null || hedge.toFallback) this.told.delete(name);
      else if (!this.told.has(name)) this.tell(name);
    }
  }

  private tell(model: string): void {
    this.told.add(model);
    const reason = 'messages of ModelStreamInfer are hedged with a fallback only';
    this.log.info('hedge_not_for_streams', { model, reason });
  }
}
