require('sharp')
