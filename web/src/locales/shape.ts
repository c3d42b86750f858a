/** The shape of every language's texts, which is that of the English ones; a missing text does not compile. */
export type Shape<T> = T extends string
  ? string
  : T extends (...values: infer Values) => string
    ? (...values: Values) => string
    : T extends readonly unknown[]
      ? readonly string[]
      : { readonly [Key in keyof T]: Shape<T[Key]> };
