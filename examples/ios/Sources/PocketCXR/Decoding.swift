// PNG and JPEG by Apple's decoder, with samples as they are stored: drawing into a context would convert them to another
// colour space. What this does not know for certain it refuses.
#if canImport(ImageIO)
    import Foundation
    import ImageIO

    public struct UnreadablePicture: Error, CustomStringConvertible {
        public let description: String
    }

    extension Picture {
        /// Steps 2 and 3 for a file.
        public init(file: Data) throws {
            guard let source = CGImageSourceCreateWithData(file as CFData, nil), CGImageSourceGetCount(source) == 1,
                let type = CGImageSourceGetType(source) as String?, ["public.png", "public.jpeg"].contains(type),
                CGImageSourceGetStatusAtIndex(source, 0) == .statusComplete,
                let image = CGImageSourceCreateImageAtIndex(source, 0, nil), let data = image.dataProvider?.data as Data?
            else { throw UnreadablePicture(description: "expected a whole PNG or JPEG") }
            let bits = image.bitsPerComponent
            guard bits == 8 || (bits == 16 && file.range(of: Data("sBIT".utf8)) == nil) else {
                throw UnreadablePicture(description: "expected 8 or 16 bits per sample")
            }
            let stored = image.bitsPerPixel / bits
            let order = image.byteOrderInfo
            let channels: Int
            switch (image.colorSpace?.model, image.alphaInfo, order) {
            case (.monochrome, .none, _), (.rgb, .none, .orderDefault), (.rgb, .none, .order16Little): channels = stored
            case (.rgb, .noneSkipLast, .orderDefault), (.rgb, .noneSkipLast, .order16Little): channels = stored - 1
            case (.monochrome, .last, .orderDefault), (.rgb, .last, .orderDefault): channels = stored
            default: throw UnreadablePicture(description: "a variant of \(type) that is not read; export it as 8-bit grey PNG")
            }
            var samples: [UInt16] = []
            samples.reserveCapacity(image.width * image.height * channels)
            for y in 0..<image.height {
                for x in 0..<image.width {
                    let pixel = data.startIndex + y * image.bytesPerRow + x * image.bitsPerPixel / 8
                    for channel in 0..<channels {
                        if bits == 8 {
                            samples.append(UInt16(data[pixel + channel]))
                        } else {
                            let (first, second) = (UInt16(data[pixel + 2 * channel]), UInt16(data[pixel + 2 * channel + 1]))
                            samples.append(order == .order16Little ? second << 8 | first : first << 8 | second)
                        }
                    }
                }
            }
            let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
            let orientation = properties?[kCGImagePropertyOrientation] as? Int ?? 1
            self = Picture(samples: samples, channels: channels, bits: bits, width: image.width, height: image.height)
                .upright(orientation)
        }
    }
#endif
