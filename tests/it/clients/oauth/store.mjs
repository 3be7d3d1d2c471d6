// What oidc-provider keeps, in maps of our own. Its own memory forgets the oldest of 1,000 entries, and a test with
// many connections would see grants die that were never revoked. Clients are read here as well, so that control can
// change them while the provider runs.
export function createStore(clients) {
  const rows = new Map();
  const expired = (payload) => payload.exp !== undefined && payload.exp < Date.now() / 1000 - 86_400;

  return class Store {
    constructor(model) {
      this.model = model;
    }

    key(id) {
      return `${this.model}:${id}`;
    }

    async upsert(id, payload) {
      rows.set(this.key(id), payload);
    }

    async find(id) {
      if (this.model === "Client") return clients.get(id);
      const payload = rows.get(this.key(id));
      return payload && !expired(payload) ? payload : undefined;
    }

    async findByUid(uid) {
      return [...rows].find(([key, payload]) => key.startsWith(`${this.model}:`) && payload.uid === uid)?.[1];
    }

    async findByUserCode() {
      return undefined;
    }

    async consume(id) {
      rows.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    }

    async destroy(id) {
      rows.delete(this.key(id));
    }

    async revokeByGrantId(grantId) {
      const member = ([key, payload]) => payload.grantId === grantId && !key.startsWith("Grant:");
      for (const [key] of [...rows].filter(member)) rows.delete(key);
    }
  };
}
